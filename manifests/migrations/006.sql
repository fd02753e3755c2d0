-- Version 6: the seal of each ledger file whose rows are in the manifest.
ALTER TABLE ledger_files ADD COLUMN IF NOT EXISTS seal VARCHAR;
