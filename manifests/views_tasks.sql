-- Clips that task queries select from: one row per clip, even if several recipes stored it.
-- verdict: flag of the clip (silent, still, black), NULL if none.
CREATE OR REPLACE VIEW stored_clips AS
SELECT c.*, t.verdict
FROM clips c
JOIN (SELECT clip_id, min(verdict) AS verdict FROM trainable GROUP BY clip_id) t USING (clip_id);
