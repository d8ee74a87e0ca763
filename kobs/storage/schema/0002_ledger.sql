-- The ledger's summary: how far each segment of each source has grown, and up to where it is in the store. Every value
-- only grows, so that writing it twice changes nothing. It outlives the rows.
CREATE TABLE {database}.log_segments (
  source UInt64,
  segment Int64,
  cluster SimpleAggregateFunction(anyLast, LowCardinality(String)),
  node SimpleAggregateFunction(anyLast, LowCardinality(String)),
  kind SimpleAggregateFunction(anyLast, LowCardinality(String)),
  namespace SimpleAggregateFunction(anyLast, LowCardinality(String)),
  pod SimpleAggregateFunction(anyLast, String),
  uid SimpleAggregateFunction(anyLast, String),
  container SimpleAggregateFunction(anyLast, LowCardinality(String)),
  restart SimpleAggregateFunction(max, UInt32),
  path SimpleAggregateFunction(anyLast, String),
  head SimpleAggregateFunction(max, UInt64),
  claimed SimpleAggregateFunction(max, UInt64),
  delivered SimpleAggregateFunction(max, UInt64),
  closed SimpleAggregateFunction(max, UInt8),
  first_ts SimpleAggregateFunction(min, DateTime64(9, 'UTC')),
  last_ts SimpleAggregateFunction(max, DateTime64(9, 'UTC')),
  updated SimpleAggregateFunction(max, DateTime64(3, 'UTC'))
) ENGINE = AggregatingMergeTree
ORDER BY (source, segment);

-- Each known loss and each finding, once: the key is what was lost and why.
CREATE TABLE {database}.ledger (
  source UInt64,
  segment Int64,
  start UInt64,
  reason LowCardinality(String),
  end UInt64,
  -- how many bytes are missing; unknown where nobody could see the end
  bytes Nullable(UInt64),
  -- 1: the bytes were left out of an entry that is stored and covers them
  in_row UInt8,
  rows UInt64,
  first_ts DateTime64(9, 'UTC'),
  last_ts DateTime64(9, 'UTC'),
  cluster LowCardinality(String),
  node LowCardinality(String),
  namespace LowCardinality(String),
  pod String,
  container LowCardinality(String),
  path String,
  detail String,
  recorded DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(recorded)
ORDER BY (source, segment, start, reason);

-- What left the store because its time was over, counted from the rows themselves just before they were dropped.
CREATE TABLE {database}.log_expired (
  source UInt64,
  segment Int64,
  day Date,
  keep_days UInt16,
  rows UInt64,
  bytes UInt64,
  recorded DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(recorded)
ORDER BY (source, segment, day, keep_days);

-- Agents as they last reported.
CREATE TABLE {database}.agents (
  agent String,
  cluster LowCardinality(String),
  node LowCardinality(String),
  version LowCardinality(String),
  clock_skew_ms Int64,
  held_bytes UInt64,
  streams UInt32,
  backlog_bytes UInt64,
  problems Array(String),
  seen DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(seen)
ORDER BY agent;

-- Moves of an agent between servers over one store. A server that takes over raises the fence first; the one before
-- finds it and inserts nothing more. What slipped through is swept: `swept` counts how often that was done.
CREATE TABLE {database}.log_fences (
  agent String,
  attempt UInt64,
  server String,
  sources Array(UInt64),
  namespaces Array(String),
  first_ts DateTime64(9, 'UTC'),
  last_ts DateTime64(9, 'UTC'),
  swept UInt8,
  at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(swept)
ORDER BY (agent, attempt, server);
