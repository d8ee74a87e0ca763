-- Up to sixteen parts of a size make a merge, not five: each line is written anew less often before it lies in a large
-- part, at the price of more parts to look into.
ALTER TABLE {database}.logs MODIFY SETTING merge_selector_base = 16;

ALTER TABLE {database}.log_segments MODIFY SETTING merge_selector_base = 16;
