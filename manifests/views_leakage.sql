-- Source videos used by more than one split or dataset: one row per video, with the number of clips
-- cut from it.
--   datasets: datasets that use the video
--   splits: its <dataset>:<split> pairs
--   clips: number of clips cut from it
CREATE OR REPLACE VIEW shared_sources AS
SELECT source_id,
       list_sort(list(DISTINCT dataset)) AS datasets,
       list_sort(list(DISTINCT dataset || ':' || split)) AS splits,
       count(*) AS clips
FROM clips
WHERE source_id IS NOT NULL
GROUP BY source_id
HAVING count(DISTINCT dataset || ':' || split) > 1;

-- Clips whose video is also in an evaluation split of some dataset. Exclude them from training by
-- clip_id NOT IN (SELECT clip_id FROM leaking_clips).
--   evaluated_by: clips of the evaluation splits that are cut from the same video
CREATE OR REPLACE VIEW leaking_clips AS
SELECT c.clip_id, c.dataset, c.split, c.source_id, e.clip_ids AS evaluated_by
FROM clips c
JOIN (
    SELECT source_id, list_sort(list(clip_id)) AS clip_ids
    FROM clips
    WHERE split IN ('test', 'val', 'eval')
    GROUP BY source_id
) e USING (source_id)
WHERE c.split NOT IN ('test', 'val', 'eval');
