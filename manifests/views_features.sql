-- Views of imported features.

-- Status of every published clip, once for each imported feature of its dataset.
--   status: stored | unreadable | missing
--   reason: why an unreadable clip is not stored, as in feature_problems
CREATE OR REPLACE VIEW feature_clips AS
SELECT c.clip_id, c.dataset, c.split, c.labels, f.feature, f.fingerprint,
       CASE WHEN s.clip_id IS NOT NULL THEN 'stored'
            WHEN p.clip_id IS NOT NULL THEN 'unreadable' ELSE 'missing' END AS status,
       CASE WHEN s.clip_id IS NULL THEN p.reason END AS reason,
       CASE WHEN s.clip_id IS NULL THEN p.source END AS source,
       CASE WHEN s.clip_id IS NULL THEN p.member END AS member,
       CASE WHEN s.clip_id IS NULL THEN p.detail END AS detail
FROM features f
JOIN clips c ON c.dataset = f.parameters->>'$.parameters.dataset'
LEFT JOIN feature_samples s
ON s.clip_id = c.clip_id AND s.feature = f.feature AND s.fingerprint = f.fingerprint
LEFT JOIN (SELECT * FROM feature_problems WHERE clip_id IS NOT NULL
           QUALIFY row_number() OVER (PARTITION BY feature, fingerprint, clip_id
                                      ORDER BY source, member) = 1) p
ON p.clip_id = c.clip_id AND p.feature = f.feature AND p.fingerprint = f.fingerprint
WHERE f.parameters->>'$.base' = 'imported';

-- The closed summary of each imported feature: wanted = stored + unreadable + missing.
--   wanted: published clips of the dataset
--   stored: clips that have the feature
--   unreadable: clips whose array could not be used
--   missing: clips of which no archive has an array
--   extra: arrays of no published clip
CREATE OR REPLACE VIEW feature_account AS
SELECT dataset, feature, fingerprint, count(*) AS wanted,
       count(*) FILTER (status = 'stored') AS stored,
       count(*) FILTER (status = 'unreadable') AS unreadable,
       count(*) FILTER (status = 'missing') AS missing,
       (SELECT count(*) FROM feature_problems p
        WHERE p.clip_id IS NULL AND p.feature = k.feature AND p.fingerprint = k.fingerprint) AS extra
FROM feature_clips k
GROUP BY dataset, feature, fingerprint
ORDER BY dataset, feature, fingerprint;
