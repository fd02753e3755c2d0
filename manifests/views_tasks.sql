-- Clips that task queries choose from: one row a clip, however many recipes have stored it.
-- verdict: what to know of it (silent, still, black), NULL if nothing.
CREATE OR REPLACE VIEW stored_clips AS
SELECT c.*, t.verdict
FROM clips c
JOIN (SELECT clip_id, min(verdict) AS verdict FROM trainable GROUP BY clip_id) t USING (clip_id);
