-- Version 6: the seal of each ledger file whose rows are in the manifest. A clip can be retryable
-- at extraction (view extraction_status).
ALTER TABLE ledger_files ADD COLUMN IF NOT EXISTS seal VARCHAR;
