-- Version 3: checksum and size of the file that an attempt committed to the store.
ALTER TABLE attempts ADD COLUMN IF NOT EXISTS sha256 VARCHAR;
ALTER TABLE attempts ADD COLUMN IF NOT EXISTS bytes BIGINT;
