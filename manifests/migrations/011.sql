-- Version 11: the stored video of a clip, and where its groups of pictures are; NULL for older clips.
ALTER TABLE samples ADD COLUMN IF NOT EXISTS video_frames INTEGER;
ALTER TABLE samples ADD COLUMN IF NOT EXISTS video_rate DOUBLE;
ALTER TABLE samples ADD COLUMN IF NOT EXISTS gop_frames INTEGER;
ALTER TABLE samples ADD COLUMN IF NOT EXISTS gop_offsets INTEGER[];
ALTER TABLE samples ADD COLUMN IF NOT EXISTS gop_crc32 BIGINT[];
ALTER TABLE samples ADD COLUMN IF NOT EXISTS video_codec VARCHAR;
