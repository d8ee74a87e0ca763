-- Samples that agents took and lost, as told by them; each once by its id. `samples` is 0 where nobody can tell.
CREATE TABLE {database}.sample_losses (
  id String,
  cluster LowCardinality(String),
  node LowCardinality(String),
  reason LowCardinality(String),
  first_ts DateTime64(3, 'UTC'),
  last_ts DateTime64(3, 'UTC'),
  samples UInt64,
  detail String,
  recorded DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(recorded)
ORDER BY (node, id);
