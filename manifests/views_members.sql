-- Members of all shards, companions of derived features included: one row per clip and member.
--   recipe: name of the extraction recipe; NULL: a derived feature
--   feature: json, fbank, waveform, video, frames, masks, or the derived feature's name
--   name: name of the file in the tar
--   byte_offset: of the content in the tar
--   bytes: size of the content
CREATE OR REPLACE VIEW members AS
SELECT clip_id, recipe, shard,
       CASE WHEN suffix = 'json' THEN 'json' WHEN suffix = 'fbank.npy' THEN 'fbank'
            WHEN suffix IN ('flac', 'wav') THEN 'waveform' WHEN suffix LIKE '%.jpg' THEN 'frames'
            WHEN suffix = 'mp4' THEN 'video' WHEN suffix LIKE 'mask%' THEN 'masks' ELSE suffix END AS feature,
       split_part(clip_id, '/', 2) || '.' || suffix AS name, byte_offset, bytes
FROM (SELECT s.clip_id, h.recipe, s.shard, unnest(string_split(s.members, ' ')) AS suffix,
             unnest(s.offsets) AS byte_offset, unnest(s.sizes)::BIGINT AS bytes
      FROM samples s JOIN shards h ON h.path = s.shard)
UNION ALL
SELECT clip_id, NULL, shard, feature, split_part(clip_id, '/', 2) || '.' || feature || '.npy',
       "offset", size
FROM feature_samples;

-- Stored frames: one row per clip, recipe and frame.
--   frame: number of the frame, from 0
--   time_s: presentation time, in seconds from the start of the clip
--   name: name of the file in the tar
--   byte_offset: of the JPEG in the tar
--   bytes: size of the JPEG
CREATE OR REPLACE VIEW frames AS
SELECT clip_id, recipe, shard, frame, time_s,
       split_part(clip_id, '/', 2) || '.' || suffix AS name, byte_offset, bytes
FROM (SELECT clip_id, recipe, shard, unnest(range(frame_count)) AS frame,
             unnest(frame_times) AS time_s, unnest(suffixes[first:last]) AS suffix,
             unnest(offsets[first:last]) AS byte_offset, unnest(sizes[first:last])::BIGINT AS bytes
      FROM (SELECT s.*, h.recipe, string_split(s.members, ' ') AS suffixes,
                   list_position(suffixes, 'f000.jpg') AS first, first + s.frame_count - 1 AS last
            FROM samples s JOIN shards h ON h.path = s.shard
            WHERE s.frame_count > 0));

-- Comments of the manifest's tables, views and columns. A table's own row has no column_name.
--   kind: table or view
--   name: table or view
--   column_name: column; NULL: the table or view itself
--   type: type of the column
--   comment: what it holds
CREATE OR REPLACE VIEW schema_help AS
SELECT kind, name, column_name, type, comment
FROM (SELECT 'table' AS kind, table_name AS name, NULL AS column_name, NULL AS type, comment,
             0 AS place
      FROM duckdb_tables()
      WHERE NOT internal AND NOT temporary AND database_name = current_database()
      UNION ALL
      SELECT 'view', view_name, NULL, NULL, comment, 0
      FROM duckdb_views()
      WHERE NOT internal AND NOT temporary AND database_name = current_database()
      UNION ALL
      SELECT CASE WHEN t.table_name IS NULL THEN 'view' ELSE 'table' END, c.table_name,
             c.column_name, c.data_type, c.comment, c.column_index
      FROM duckdb_columns() c
      LEFT JOIN duckdb_tables() t ON t.table_oid = c.table_oid AND t.database_oid = c.database_oid
      WHERE NOT c.internal AND c.database_name = current_database())
ORDER BY kind, name, place;
