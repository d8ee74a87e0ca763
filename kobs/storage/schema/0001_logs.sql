-- Log rows. One row is one entry: a line, or the lines of a stack trace. Its identity is (source, segment, offset).
CREATE TABLE {database}.logs (
  ts DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
  received DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
  cluster LowCardinality(String),
  namespace LowCardinality(String),
  stream UInt64 CODEC(ZSTD(1)),
  severity LowCardinality(String),
  trace_id String CODEC(ZSTD(1)),
  body String CODEC(ZSTD(1)),
  attrs Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  source UInt64 CODEC(ZSTD(1)),
  segment Int64 CODEC(ZSTD(1)),
  offset UInt64 CODEC(Delta(8), ZSTD(1)),
  size UInt32 CODEC(ZSTD(1)),
  -- an entry that goes on over a rotation covers tail_size bytes of tail_segment too, from its start
  tail_segment Int64 CODEC(ZSTD(1)),
  tail_size UInt32 CODEC(ZSTD(1)),
  attempt UInt8 CODEC(ZSTD(1)),
  keep_days UInt16 CODEC(ZSTD(1)),
  INDEX ix_token lower(body) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 1,
  INDEX ix_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX ix_received received TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY (toDate(ts), keep_days)
PRIMARY KEY (toStartOfFiveMinutes(ts), namespace, stream)
ORDER BY (toStartOfFiveMinutes(ts), namespace, stream, ts, segment, offset)
SETTINGS non_replicated_deduplication_window = 0;

-- Label sets of log rows by day, so that labels can be resolved for a window of time.
CREATE TABLE {database}.log_streams (
  cluster LowCardinality(String),
  namespace LowCardinality(String),
  stream UInt64,
  labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  day Date,
  first SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
  last SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
PARTITION BY toStartOfWeek(day)
ORDER BY (cluster, stream, day)
SETTINGS allow_dimensions_outside_sorting_key = 1;
