-- Views for users. All follow the tables.

-- Clips to train on: one row per stored sample, with all columns of clips.
CREATE OR REPLACE VIEW trainable AS
SELECT c.*, s.shard, s.fingerprint, h.recipe, s.frame_count, s.fbank_frames, s.duration_s, q.verdict,
       s.members, s.offsets, s.sizes
FROM samples s
JOIN clips c USING (clip_id)
JOIN shards h ON h.path = s.shard
LEFT JOIN quality q ON q.clip_id = s.clip_id AND q.fingerprint = s.fingerprint;

-- The closed summary per dataset and stage: wanted = stored + rejected + gone + retryable + pending.
CREATE OR REPLACE VIEW account AS
SELECT c.dataset, t.stage, count(*) AS wanted,
       count(*) FILTER (t.status = 'stored') AS stored,
       count(*) FILTER (t.status = 'rejected') AS rejected,
       count(*) FILTER (t.status = 'gone') AS gone,
       count(*) FILTER (t.status = 'retryable') AS retryable,
       count(*) FILTER (t.status = 'pending') AS pending
FROM status t JOIN clips c USING (clip_id)
GROUP BY ALL ORDER BY ALL;

-- Clips that are not usable, with the reason; unknown reasons first.
CREATE OR REPLACE VIEW failures AS
SELECT t.clip_id, t.stage, t.status, t.verdict, q.detail, t.attempts, t.not_before, t.updated_at,
       c.split, c.labels
FROM status t
JOIN clips c USING (clip_id)
LEFT JOIN stages g ON g.stage = t.stage AND g.dataset = c.dataset
LEFT JOIN quality q ON q.clip_id = t.clip_id AND q.fingerprint = g.fingerprint
WHERE t.status IN ('rejected', 'gone', 'retryable')
ORDER BY t.verdict <> 'unknown', t.clip_id, t.stage;

-- Published and stored clips per class.
CREATE OR REPLACE VIEW coverage AS
SELECT c.dataset, t.stage, u.label, c.split, count(*) AS wanted,
       count(*) FILTER (t.status = 'stored') AS stored,
       round(100.0 * stored / wanted, 1) AS percent
FROM clips c
JOIN status t USING (clip_id), unnest(c.labels) AS u(label)
WHERE t.stage <> 'fetch'
GROUP BY c.dataset, t.stage, u.label, c.split
ORDER BY c.dataset, t.stage, percent, u.label;

-- Published clips that are not stored.
CREATE OR REPLACE VIEW missing AS
SELECT c.clip_id, c.dataset, c.split, c.labels, t.stage, t.status, t.verdict
FROM clips c JOIN status t USING (clip_id)
WHERE t.status <> 'stored';

-- Statuses that changed since each run began.
CREATE OR REPLACE VIEW changes AS
SELECT r.run_id, r.command, r.started_at, t.clip_id, t.stage, t.status, t.verdict, t.updated_at
FROM runs r JOIN status t ON t.seq > r.seq
ORDER BY r.seq, t.seq;

-- The latest fetch attempt of each clip, and the number of attempts charged since the last retry
-- (avstore retry adds a row with outcome 'pending'), with the verdicts that they met.
CREATE OR REPLACE VIEW last_fetch AS
WITH chances AS (
    SELECT clip_id, max(seq) FILTER (outcome = 'pending') AS given
    FROM attempts WHERE stage = 'fetch' GROUP BY clip_id
)
SELECT a.clip_id, a.outcome, a.error_class, a.path, a.offset_s, a.not_before, a.started_at,
       a.tool_version, a.seq, a.modified_at,
       count(*) FILTER (a.charged AND (g.given IS NULL OR a.seq > g.given))
           OVER (PARTITION BY a.clip_id) AS attempts,
       list(a.error_class) FILTER (a.charged AND a.outcome = 'retryable'
                                   AND (g.given IS NULL OR a.seq > g.given))
           OVER (PARTITION BY a.clip_id) AS verdicts
FROM attempts a JOIN chances g USING (clip_id)
WHERE a.stage = 'fetch'
QUALIFY row_number() OVER (PARTITION BY a.clip_id ORDER BY a.seq DESC, a.started_at DESC) = 1;

-- The latest fetch attempt of some clips; reads only their attempts.
CREATE OR REPLACE MACRO last_fetch_of(ids) AS TABLE
SELECT clip_id,
       arg_max_null(path, seq) AS path,
       arg_max_null(offset_s, seq) AS offset_s,
       arg_max_null(started_at, seq) AS started_at
FROM attempts WHERE stage = 'fetch' AND clip_id IN (SELECT unnest(ids))
GROUP BY clip_id;

-- Status after an extraction, by whether it stored the clip and its verdict.
CREATE OR REPLACE MACRO extraction_status(is_stored, verdict) AS
CASE WHEN is_stored THEN 'stored'
     WHEN verdict IN ('machine_killed', 'media_changed') THEN 'retryable'
     ELSE 'rejected' END;

-- Status of every clip at every stage, derived from the other tables; `status` is kept equal to it.
CREATE OR REPLACE VIEW derived_status AS
SELECT c.clip_id, 'fetch' AS stage, coalesce(f.outcome, 'pending') AS status,
       f.error_class AS verdict, coalesce(f.attempts, 0)::INTEGER AS attempts,
       f.not_before, f.started_at AS updated_at, c.position, f.seq
FROM clips c LEFT JOIN last_fetch f USING (clip_id)
UNION ALL
SELECT c.clip_id, g.stage,
       CASE WHEN s.clip_id IS NOT NULL THEN 'stored'
            WHEN q.clip_id IS NOT NULL THEN extraction_status(false, q.verdict)
            WHEN f.outcome IN ('gone', 'retryable', 'rejected') THEN f.outcome
            ELSE 'pending' END,
       CASE WHEN q.clip_id IS NOT NULL THEN q.verdict
            WHEN f.outcome IN ('gone', 'retryable', 'rejected') THEN f.error_class END,
       (q.clip_id IS NOT NULL)::INTEGER,
       CASE WHEN q.clip_id IS NULL THEN f.not_before END,
       coalesce(q.extracted_at, CASE WHEN f.outcome IN ('gone', 'retryable', 'rejected')
                                  THEN f.started_at END),
       c.position,
       coalesce(q.seq, CASE WHEN f.outcome IN ('gone', 'retryable', 'rejected') THEN f.seq END)
FROM clips c
JOIN stages g ON g.dataset = c.dataset
LEFT JOIN last_fetch f USING (clip_id)
LEFT JOIN quality q ON q.clip_id = c.clip_id AND q.fingerprint = g.fingerprint
LEFT JOIN samples s ON s.clip_id = c.clip_id AND s.fingerprint = g.fingerprint;
