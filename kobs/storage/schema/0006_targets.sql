-- What agents scrape, as they last reported it. A report's rows have the same `seen` as its row in scrape_reports, which
-- is written after them: the newest report of a node is the one that counts, and older rows go by themselves.
CREATE TABLE {database}.scrape_targets (
  cluster LowCardinality(String),
  node LowCardinality(String),
  state LowCardinality(String),
  pool LowCardinality(String),
  url String,
  identity UInt64,
  global_url String,
  discovered Map(LowCardinality(String), String),
  labels Map(LowCardinality(String), String),
  health LowCardinality(String),
  error String,
  started_ns Int64,
  seconds Float64,
  scrape_interval LowCardinality(String),
  scrape_timeout LowCardinality(String),
  seen DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(seen)
ORDER BY (cluster, node, state, pool, url, identity)
TTL toDateTime(seen) + INTERVAL 1 DAY DELETE;

CREATE TABLE {database}.scrape_reports (
  cluster LowCardinality(String),
  node LowCardinality(String),
  dropped_counts Map(LowCardinality(String), UInt64),
  seen DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(seen)
ORDER BY (cluster, node)
TTL toDateTime(seen) + INTERVAL 1 DAY DELETE;
