-- Clips that task queries select from: one row per clip, even if several recipes stored it.
--   verdict: flag of the clip (silent, still, black); NULL: no finding
CREATE OR REPLACE VIEW stored_clips AS
SELECT c.*, t.verdict
FROM clips c
JOIN (SELECT clip_id, min(verdict) AS verdict FROM trainable GROUP BY clip_id) t USING (clip_id);

-- For a manifest without streams; tasks.py replaces it.

-- Clips of the registered task streams: one row per clip, task and role.
--   stream: name of the task stream
--   position: place of the task in the stream, from 0
--   task: name of the task
--   role: train | eval | retrieval
--   clip_id: <dataset>/<key>
CREATE VIEW IF NOT EXISTS task_clips AS
SELECT stream, position, task, role, NULL::VARCHAR AS clip_id FROM tasks WHERE false;
