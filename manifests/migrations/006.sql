-- Version 6: the seal of each ledger file whose rows are in the manifest. A clip can be retryable
-- at extraction (view extraction_status).
ALTER TABLE ledger_files ADD COLUMN IF NOT EXISTS seal VARCHAR;
-- Events are ordered by number, not by clock. Rows without one are numbered by their time
-- and come first (manifests/sequence.py).
ALTER TABLE attempts ADD COLUMN IF NOT EXISTS modified_at TIMESTAMP;
ALTER TABLE attempts ADD COLUMN IF NOT EXISTS seq BIGINT;
ALTER TABLE quality ADD COLUMN IF NOT EXISTS seq BIGINT;
ALTER TABLE runs ADD COLUMN IF NOT EXISTS seq BIGINT;
ALTER TABLE status ADD COLUMN IF NOT EXISTS seq BIGINT;
UPDATE attempts SET seq = coalesce(epoch_us(started_at), 0) - 4611686018427387904 WHERE seq IS NULL;
UPDATE quality SET seq = coalesce(epoch_us(extracted_at), 0) - 4611686018427387904
WHERE seq IS NULL;
UPDATE runs SET seq = coalesce(epoch_us(started_at), 0) - 4611686018427387904 WHERE seq IS NULL;
