-- Views for users. All follow the tables. `-- column: text` describes a column (comments.py).

-- Whether a feature's shard is imported: its clips need no base shard.
CREATE OR REPLACE MACRO is_imported(shard) AS split_part(shard, '/', 3) = 'imported';

-- Clips to train on: one row per stored clip and recipe, with all columns of clips. A clip that has
-- imported features alone has one row, without a recipe.
--   shard: the base shard; NULL: the clip has imported features alone
--   position: row order in the annotation files
--   verdict: flag of the clip (silent, still, black); NULL: no finding
CREATE OR REPLACE VIEW trainable AS
SELECT c.*, s.shard, s.fingerprint, h.recipe, s.frame_count, s.fbank_frames, s.duration_s, q.verdict,
       s.members, s.offsets, s.sizes
FROM samples s
JOIN clips c USING (clip_id)
JOIN shards h ON h.path = s.shard
LEFT JOIN quality q ON q.clip_id = s.clip_id AND q.fingerprint = s.fingerprint
UNION ALL
SELECT c.*, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM clips c
WHERE c.clip_id IN (SELECT clip_id FROM feature_samples WHERE is_imported(shard))
  AND c.clip_id NOT IN (SELECT clip_id FROM samples);

-- Labels by further label sets: one row per clip, label set and modality, to select beside clip_id.
--   label_set: name of the label set
--   modality: audio, visual: classes that can be heard, seen; both: heard and seen; any: all
--   labels: names of the classes
--   label_ids: numbers of the classes, in the order of labels
CREATE OR REPLACE VIEW label_sets AS
SELECT l.clip_id, l.label_set, m.modality, list(l.label ORDER BY l.label_id) AS labels,
       list(l.label_id ORDER BY l.label_id) AS label_ids
FROM clip_labels l
JOIN (VALUES ('audio', ['audio', 'both']), ('visual', ['visual', 'both']), ('both', ['both']),
             ('any', ['audio', 'visual', 'both'])) AS m(modality, parts)
ON list_contains(m.parts, l.modality)
GROUP BY l.clip_id, l.label_set, m.modality;

-- The closed summary per dataset and stage: wanted = stored + rejected + gone +
-- absent + retryable + pending.
--   stage: 'fetch', or '<recipe>-<fp8>'
--   wanted: published clips
--   stored: clips in shards; at 'fetch', clips with media
--   rejected: clips that failed validation
--   gone: clips that no longer exist, as the site that published them says
--   absent: clips that the sources so far lack and another may have
--   retryable: clips that may be fetched later
--   pending: clips that were not tried yet
CREATE OR REPLACE VIEW account AS
SELECT c.dataset, t.stage, count(*) AS wanted,
       count(*) FILTER (t.status = 'stored') AS stored,
       count(*) FILTER (t.status = 'rejected') AS rejected,
       count(*) FILTER (t.status = 'gone') AS gone,
       count(*) FILTER (t.status = 'absent') AS absent,
       count(*) FILTER (t.status = 'retryable') AS retryable,
       count(*) FILTER (t.status = 'pending') AS pending
FROM status t JOIN clips c USING (clip_id)
GROUP BY ALL ORDER BY ALL;

-- Status of every published clip, once per recipe. A dataset without a recipe has its clips once, at
-- the stage 'fetch'. Two versions of a recipe differ in stage.
--   recipe: name of the extraction recipe; NULL: the dataset has none yet
CREATE OR REPLACE VIEW clip_status AS
SELECT t.clip_id, c.dataset, g.recipe, t.stage, c.split, c.labels, t.status, t.verdict, t.updated_at,
       t.seq
FROM status t
JOIN clips c USING (clip_id)
LEFT JOIN stages g ON g.stage = t.stage AND g.dataset = c.dataset
WHERE t.stage <> 'fetch' OR c.dataset NOT IN (SELECT dataset FROM stages);

-- Clips that are not usable, once per recipe, with the reason; unknown reasons first.
--   failed_at: 'fetch' or 'extract'
--   detail: message of the source, or the measured signal and its value
--   attempts: attempts at that step that count towards the limit
CREATE OR REPLACE VIEW failures AS
WITH messages AS (
    SELECT clip_id, arg_max_null(error_message, seq) AS message
    FROM attempts WHERE stage = 'fetch' AND outcome <> 'stored' GROUP BY clip_id
)
SELECT s.clip_id, s.dataset, s.recipe, s.stage, s.status, s.verdict,
       CASE WHEN q.clip_id IS NULL THEN 'fetch' ELSE 'extract' END AS failed_at,
       CASE WHEN q.clip_id IS NULL THEN m.message ELSE q.detail END AS detail,
       CASE WHEN q.clip_id IS NULL THEN f.attempts ELSE 1 END AS attempts,
       f.not_before, s.updated_at, s.split, s.labels
FROM clip_status s
JOIN status f ON f.clip_id = s.clip_id AND f.stage = 'fetch'
LEFT JOIN stages g ON g.stage = s.stage AND g.dataset = s.dataset
LEFT JOIN quality q ON q.clip_id = s.clip_id AND q.fingerprint = g.fingerprint
LEFT JOIN messages m ON m.clip_id = s.clip_id
WHERE s.status IN ('rejected', 'gone', 'absent', 'retryable')
ORDER BY s.verdict <> 'unknown', s.clip_id, s.stage;

-- Failures at every stage: a clip that was not fetched has a row at 'fetch' and one per recipe.
CREATE OR REPLACE VIEW failures_by_stage AS
SELECT t.clip_id, c.dataset, t.stage, t.status, t.verdict, q.detail, t.attempts, t.not_before,
       t.updated_at, c.split, c.labels
FROM status t
JOIN clips c USING (clip_id)
LEFT JOIN stages g ON g.stage = t.stage AND g.dataset = c.dataset
LEFT JOIN quality q ON q.clip_id = t.clip_id AND q.fingerprint = g.fingerprint
WHERE t.status IN ('rejected', 'gone', 'absent', 'retryable')
ORDER BY t.verdict <> 'unknown', t.clip_id, t.stage;

-- Published and stored clips per recipe, class and split. A clip of several classes counts in each
-- of them.
--   label: name of the class; NULL: clips without a label
--   wanted: published clips
--   stored: clips in shards
--   percent: stored clips of 100 published ones
CREATE OR REPLACE VIEW coverage AS
SELECT dataset, recipe, stage, label, split, count(*) AS wanted,
       count(*) FILTER (status = 'stored') AS stored,
       round(100.0 * stored / wanted, 1) AS percent
FROM (SELECT dataset, recipe, stage, split, status,
             unnest(CASE WHEN len(labels) > 0 THEN labels ELSE [NULL] END) AS label
      FROM clip_status)
GROUP BY dataset, recipe, stage, label, split
ORDER BY dataset, stage, percent, label, split;

-- Coverage at every stage: at 'fetch', stored clips are those with media.
--   label: name of the class; NULL: clips without a label
--   wanted: published clips
--   stored: clips that passed the stage
--   percent: stored clips of 100 published ones
CREATE OR REPLACE VIEW coverage_by_stage AS
SELECT dataset, stage, label, split, count(*) AS wanted,
       count(*) FILTER (status = 'stored') AS stored,
       round(100.0 * stored / wanted, 1) AS percent
FROM (SELECT c.dataset, t.stage, c.split, t.status,
             unnest(CASE WHEN len(c.labels) > 0 THEN c.labels ELSE [NULL] END) AS label
      FROM status t JOIN clips c USING (clip_id))
GROUP BY dataset, stage, label, split
ORDER BY dataset, stage, percent, label, split;

-- Published clips that are not stored, once per recipe.
CREATE OR REPLACE VIEW missing AS
SELECT clip_id, dataset, recipe, stage, split, labels, status, verdict
FROM clip_status WHERE status <> 'stored';

-- Clips that have not passed a stage: a row per clip and stage, 'fetch' included.
CREATE OR REPLACE VIEW missing_by_stage AS
SELECT c.clip_id, c.dataset, c.split, c.labels, t.stage, t.status, t.verdict
FROM clips c JOIN status t USING (clip_id)
WHERE t.status <> 'stored';

-- Clips by the time at which they reached their status, once per recipe; clips that were not tried
-- yet are left out. The last day: WHERE changed_at > now() - INTERVAL 1 DAY.
--   changed_at: when the status was reached; a time with time zone, so that it compares with now()
--   run_id: latest run that had begun by then
CREATE OR REPLACE VIEW changes AS
SELECT s.clip_id, s.dataset, s.recipe, s.stage, s.split, s.labels, s.status, s.verdict,
       s.updated_at AT TIME ZONE 'UTC' AS changed_at, r.run_id
FROM clip_status s ASOF LEFT JOIN runs r ON r.seq <= s.seq
WHERE s.updated_at IS NOT NULL;

-- Changes at every stage: a row per clip and stage, 'fetch' included.
--   changed_at: when the status was reached; a time with time zone
--   run_id: latest run that had begun by then
CREATE OR REPLACE VIEW changes_by_stage AS
SELECT t.clip_id, c.dataset, t.stage, t.status, t.verdict,
       t.updated_at AT TIME ZONE 'UTC' AS changed_at, r.run_id
FROM (SELECT * FROM status WHERE updated_at IS NOT NULL) t
ASOF LEFT JOIN runs r ON r.seq <= t.seq
JOIN clips c USING (clip_id);

-- Whether an attempt says no more than that a folder, archive or list lacks the clip. Older versions
-- recorded it as gone.
CREATE OR REPLACE MACRO lacks_clip(outcome, error_class, tool) AS
coalesce(outcome = 'gone' AND error_class = 'not_found'
         AND split_part(tool, ' ', 1) IN ('folder', 'archive', 'fsspec'), false);

-- Status after a fetch attempt.
CREATE OR REPLACE MACRO fetch_outcome(outcome, error_class, tool) AS
CASE WHEN lacks_clip(outcome, error_class, tool) THEN 'absent' ELSE outcome END;

-- Verdict after a fetch attempt.
CREATE OR REPLACE MACRO fetch_verdict(outcome, error_class, tool) AS
CASE WHEN lacks_clip(outcome, error_class, tool) THEN 'not_in_source' ELSE error_class END;

-- The latest fetch attempt of each clip, and the number of attempts charged since the last retry
-- (avstore retry adds a row with outcome 'pending'), with the verdicts that they met.
--   outcome: as status.status
--   attempts: attempts charged since the last retry
--   verdicts: their verdicts
CREATE OR REPLACE VIEW last_fetch AS
WITH chances AS (
    SELECT clip_id, max(seq) FILTER (outcome = 'pending') AS given
    FROM attempts WHERE stage = 'fetch' GROUP BY clip_id
)
SELECT a.clip_id, fetch_outcome(a.outcome, a.error_class, a.tool_version) AS outcome,
       fetch_verdict(a.outcome, a.error_class, a.tool_version) AS error_class, a.path,
       a.offset_s, a.not_before, a.started_at,
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
--   stage: 'fetch', or '<recipe>-<fp8>'
--   status: stored | rejected | gone | absent | retryable | pending
--   verdict: why the clip is not usable, or its flag; NULL: no finding
--   attempts: attempts that count towards the limit
--   updated_at: when the status was reached (UTC); NULL: not tried yet
CREATE OR REPLACE VIEW derived_status AS
SELECT c.clip_id, 'fetch' AS stage, coalesce(f.outcome, 'pending') AS status,
       f.error_class AS verdict, coalesce(f.attempts, 0)::INTEGER AS attempts,
       f.not_before, f.started_at AS updated_at, c.position, f.seq
FROM clips c LEFT JOIN last_fetch f USING (clip_id)
UNION ALL
SELECT c.clip_id, g.stage,
       CASE WHEN s.clip_id IS NOT NULL THEN 'stored'
            WHEN q.clip_id IS NOT NULL THEN extraction_status(false, q.verdict)
            WHEN f.outcome IN ('gone', 'absent', 'retryable', 'rejected') THEN f.outcome
            ELSE 'pending' END,
       CASE WHEN q.clip_id IS NOT NULL THEN q.verdict
            WHEN f.outcome IN ('gone', 'absent', 'retryable', 'rejected') THEN f.error_class END,
       (q.clip_id IS NOT NULL)::INTEGER,
       CASE WHEN q.clip_id IS NULL THEN f.not_before END,
       coalesce(q.extracted_at, CASE WHEN f.outcome IN ('gone', 'absent', 'retryable', 'rejected')
                                  THEN f.started_at END),
       c.position,
       coalesce(q.seq, CASE WHEN f.outcome IN ('gone', 'absent', 'retryable', 'rejected') THEN f.seq END)
FROM clips c
JOIN stages g ON g.dataset = c.dataset
LEFT JOIN last_fetch f USING (clip_id)
LEFT JOIN quality q ON q.clip_id = c.clip_id AND q.fingerprint = g.fingerprint
LEFT JOIN samples s ON s.clip_id = c.clip_id AND s.fingerprint = g.fingerprint;
