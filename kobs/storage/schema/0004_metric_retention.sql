-- Samples leave by whole partitions after `storage.metrics_keep_days`, as logs do.
ALTER TABLE {database}.metric_samples REMOVE TTL;
ALTER TABLE {database}.metric_series REMOVE TTL;
