-- Version 10: what each stream covers of a clip, which frames repeat, and what decides the flags; NULL
-- for older clips.
ALTER TABLE quality ADD COLUMN IF NOT EXISTS video_covered_fraction DOUBLE;
ALTER TABLE quality ADD COLUMN IF NOT EXISTS audio_covered_fraction DOUBLE;
ALTER TABLE quality ADD COLUMN IF NOT EXISTS largest_gap_s DOUBLE;
ALTER TABLE quality ADD COLUMN IF NOT EXISTS repeated_frames INTEGER;
ALTER TABLE quality ADD COLUMN IF NOT EXISTS loudest_dbfs DOUBLE;
ALTER TABLE quality ADD COLUMN IF NOT EXISTS largest_change DOUBLE;
ALTER TABLE quality ADD COLUMN IF NOT EXISTS brightest_luma INTEGER;
