-- Version 2: status is ordered by clips.position; samples have the range of all members; new tables
-- feature_samples and ledger_files (schema.sql).
DROP VIEW IF EXISTS derived_status;
ALTER TABLE status ADD COLUMN IF NOT EXISTS position BIGINT;
ALTER TABLE plans ADD COLUMN IF NOT EXISTS first_position BIGINT;
ALTER TABLE plans ADD COLUMN IF NOT EXISTS last_position BIGINT;
ALTER TABLE samples ADD COLUMN IF NOT EXISTS range_offset BIGINT;
ALTER TABLE samples ADD COLUMN IF NOT EXISTS range_bytes BIGINT;
UPDATE samples SET
    range_offset = offsets[1] - 512,
    range_bytes = offsets[-1] + (sizes[-1]::BIGINT + 511) // 512 * 512 - offsets[1] + 512;
