-- What an attempt committed to the store: written down before extraction looks at the file.
ALTER TABLE attempts ADD COLUMN IF NOT EXISTS sha256 VARCHAR;
ALTER TABLE attempts ADD COLUMN IF NOT EXISTS bytes BIGINT;
