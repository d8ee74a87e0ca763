-- Samples. Idempotent by (fp, ts): readers collapse copies, and of different values at one time the greatest counts.
CREATE TABLE {database}.metric_samples (
  metric LowCardinality(String),
  fp UInt64 CODEC(ZSTD(1)),
  ts DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
  value Float64 CODEC(Delta(8), ZSTD(1))
) ENGINE = MergeTree
PARTITION BY toDate(ts)
PRIMARY KEY (metric, toStartOfHour(ts), fp)
ORDER BY (metric, toStartOfHour(ts), fp, ts)
TTL toDateTime(ts) + INTERVAL 15 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 0;

CREATE TABLE {database}.metric_series (
  metric LowCardinality(String),
  fp UInt64,
  labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  day Date,
  min_ts SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
  max_ts SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
PARTITION BY toStartOfWeek(day)
PRIMARY KEY (metric, fp)
ORDER BY (metric, fp, day)
TTL day + INTERVAL 15 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, allow_dimensions_outside_sorting_key = 1;

CREATE TABLE {database}.metric_metadata (
  metric LowCardinality(String),
  job LowCardinality(String),
  type LowCardinality(String),
  unit LowCardinality(String),
  help String,
  updated DateTime('UTC')
) ENGINE = ReplacingMergeTree(updated)
ORDER BY (metric, job);
