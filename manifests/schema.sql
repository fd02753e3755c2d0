-- The manifest: an index over the store. Every table but `attempts` and `runs` can be rebuilt from
-- the shards' sidecars and the annotations kept in the ledger; those two are ledger files as well.
-- Only the driver process writes here; readers attach read-only.

CREATE TABLE IF NOT EXISTS meta (schema_version INTEGER NOT NULL);

CREATE TABLE IF NOT EXISTS datasets (
    name VARCHAR NOT NULL,
    version VARCHAR,
    annotation_source VARCHAR,      -- where the annotation files came from (paths or addresses)
    annotation_sha256 VARCHAR,      -- of all files, in the order given
    licence VARCHAR,
    clips BIGINT,                   -- published ids that could be read
    ingested_at TIMESTAMP
);

-- One row a published clip: the unit of accounting.
CREATE TABLE IF NOT EXISTS clips (
    clip_id VARCHAR NOT NULL,       -- <dataset>/<key>
    dataset VARCHAR NOT NULL,
    key VARCHAR NOT NULL,           -- the WebDataset __key__
    source_id VARCHAR,              -- YouTube id, or the dataset's own video name
    start_s DOUBLE,                 -- in the source video; NULL: the whole file is the clip
    end_s DOUBLE,
    split VARCHAR,
    subsets VARCHAR[],
    labels VARCHAR[],
    label_ids INTEGER[],
    category VARCHAR,
    captions VARCHAR[],
    extra JSON,
    position BIGINT                 -- row order in the annotation files: "first 400" means this order
);

-- The label vocabulary of a dataset.
CREATE TABLE IF NOT EXISTS labels (
    dataset VARCHAR NOT NULL,
    label_id INTEGER NOT NULL,
    label VARCHAR NOT NULL,
    mid VARCHAR,                    -- machine id: /m/… in AudioSet, vgg_<k> in VGGSound
    category VARCHAR
);

-- Labels of a part of a clip (AVE, LLP): seconds within the clip, half-open.
CREATE TABLE IF NOT EXISTS segments (
    clip_id VARCHAR NOT NULL,
    modality VARCHAR NOT NULL,      -- audio | visual | both
    label VARCHAR NOT NULL,
    label_id INTEGER,
    onset_s DOUBLE,
    offset_s DOUBLE
);

-- Annotation rows that could not be used, each with its row number and why.
CREATE TABLE IF NOT EXISTS annotation_errors (
    dataset VARCHAR NOT NULL,
    file VARCHAR,
    row BIGINT,
    reason VARCHAR,
    text VARCHAR
);

-- Facts of the fetched file.
CREATE TABLE IF NOT EXISTS media (
    clip_id VARCHAR NOT NULL,
    path VARCHAR,
    bytes BIGINT,
    sha256 VARCHAR,
    container VARCHAR,
    duration_s DOUBLE,
    video_codec VARCHAR,
    width INTEGER,
    height INTEGER,
    fps DOUBLE,
    frames INTEGER,
    rotation INTEGER,
    audio_codec VARCHAR,
    audio_rate INTEGER,
    audio_channels INTEGER,
    av_offset_ms DOUBLE,            -- first audio instant minus first video instant
    fetched_at TIMESTAMP
);

-- Measured signals, per clip and recipe. Thresholds belong to the recipe.
CREATE TABLE IF NOT EXISTS quality (
    clip_id VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    verdict VARCHAR,                -- NULL: nothing found
    detail VARCHAR,                 -- the signal and its value, in words
    silent_fraction DOUBLE,
    still_fraction DOUBLE,
    black_fraction DOUBLE,
    loudness_lufs DOUBLE,
    clipped_fraction DOUBLE,
    decode_errors INTEGER,
    extracted_at TIMESTAMP
);

-- Where a clip is: exactly one row per clip and stage.
CREATE TABLE IF NOT EXISTS status (
    clip_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,         -- 'fetch', or '<recipe>-<fp8>'
    status VARCHAR NOT NULL,        -- stored | rejected | gone | retryable | pending
    verdict VARCHAR,
    attempts INTEGER,
    not_before TIMESTAMP,
    updated_at TIMESTAMP,
    position BIGINT                 -- clips.position: rows lie in this order, so a shard's are near
);

CREATE TABLE IF NOT EXISTS attempts (
    clip_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    started_at TIMESTAMP,
    seconds DOUBLE,
    outcome VARCHAR,                -- as status.status
    error_class VARCHAR,            -- a verdict, or NULL
    error_message VARCHAR,
    tool_version VARCHAR,
    run_id VARCHAR,
    path VARCHAR,                   -- what was fetched (outcome stored)
    offset_s DOUBLE,                -- where in that file the clip starts
    not_before TIMESTAMP,           -- earliest next attempt
    charged BOOLEAN,                -- counts against the clip (a rate limit does not)
    sha256 VARCHAR,                 -- of a file that this attempt committed to the store
    bytes BIGINT
);

-- The extraction stages begun: one per dataset, recipe and fingerprint.
CREATE TABLE IF NOT EXISTS stages (
    stage VARCHAR NOT NULL,         -- <recipe>-<fp8>
    dataset VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL
);

-- Which clips go into which shard, written down before any work starts.
CREATE TABLE IF NOT EXISTS plans (
    shard VARCHAR NOT NULL,         -- shards.path
    dataset VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    clip_ids VARCHAR[],
    done BOOLEAN NOT NULL,          -- its sidecar is in the manifest
    first_position BIGINT,          -- of its clips, in clips.position (a hint, checked when used)
    last_position BIGINT
);

CREATE TABLE IF NOT EXISTS shards (
    path VARCHAR NOT NULL,          -- relative to the store
    dataset VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    clips BIGINT,
    bytes BIGINT,
    sha256 VARCHAR
);

CREATE TABLE IF NOT EXISTS samples (
    clip_id VARCHAR NOT NULL,
    shard VARCHAR NOT NULL,         -- shards.path
    fingerprint VARCHAR NOT NULL,
    position INTEGER,               -- within the shard
    members VARCHAR,                -- suffixes in order, separated by a space: 'json fbank.npy flac f000.jpg …'
    offsets BIGINT[],               -- of each member's content in the tar
    sizes INTEGER[],
    frame_count INTEGER,
    frame_times FLOAT[],            -- seconds from the clip's start, presentation time of each frame
    fbank_frames INTEGER,
    duration_s DOUBLE,
    crc32 BIGINT,                   -- of the members' contents, one after the other
    range_offset BIGINT,            -- where the sample's members, headers included, lie in the tar:
    range_bytes BIGINT              -- one range read for all of them
);

CREATE TABLE IF NOT EXISTS features (
    feature VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    parameters JSON,
    code_version VARCHAR,
    library_versions JSON,
    weights_sha256 VARCHAR
);

-- One row a clip in a companion shard of a derived feature.
CREATE TABLE IF NOT EXISTS feature_samples (
    shard VARCHAR NOT NULL,         -- the companion shard, relative to the store
    feature VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,   -- features.fingerprint
    clip_id VARCHAR NOT NULL,
    position INTEGER,               -- within the shard, as in the base shard
    "offset" BIGINT,                -- of the value's content (.npy) in the tar
    size BIGINT,
    shape VARCHAR,
    dtype VARCHAR,
    source_sha256 VARCHAR,          -- of what it was computed from
    crc32 BIGINT                    -- of the content
);

-- The files of the ledger whose rows are in this manifest.
CREATE TABLE IF NOT EXISTS ledger_files (name VARCHAR NOT NULL);

-- A task stream: ordered tasks, each a query over clips that returns clip_id.
CREATE TABLE IF NOT EXISTS tasks (
    stream VARCHAR NOT NULL,
    position INTEGER NOT NULL,
    task VARCHAR NOT NULL,
    role VARCHAR NOT NULL,          -- train | eval | retrieval
    query VARCHAR NOT NULL
);

CREATE TABLE IF NOT EXISTS runs (
    run_id VARCHAR NOT NULL,
    command VARCHAR,
    config JSON,
    git_commit VARCHAR,
    host JSON,
    started_at TIMESTAMP,
    ended_at TIMESTAMP,
    outcome VARCHAR
);

-- Shards (base and companion) that were dropped: no row points at them, gc removes their files.
CREATE TABLE IF NOT EXISTS dropped (
    shard VARCHAR NOT NULL,         -- relative to the store
    dropped_at TIMESTAMP
);

-- Mean and standard deviation of the unnormalised fbank over a set of clips, to normalise by.
CREATE TABLE IF NOT EXISTS statistics (
    name VARCHAR NOT NULL,          -- by which it is asked for
    dataset VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,         -- <recipe>-<fp8>
    query VARCHAR NOT NULL,         -- the clips
    clips BIGINT,
    frames BIGINT,
    mean DOUBLE,
    std DOUBLE,
    samples_sha256 VARCHAR,         -- fingerprint of the sample list
    computed_at TIMESTAMP
);
