-- Samples leave by whole partitions after `storage.metrics_keep_days`, as logs do.
ALTER TABLE {database}.metric_samples REMOVE TTL;
ALTER TABLE {database}.metric_series REMOVE TTL;

-- Merges of more parts at once write each sample 3 times instead of 12 until its day is one part, and leave some more
-- parts to read meanwhile.
ALTER TABLE {database}.metric_samples MODIFY SETTING merge_selector_base = 10;
