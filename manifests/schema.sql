-- The manifest: an index of the store, rebuilt at any time from the shards' sidecars and the ledger.
-- Only the driver process writes to it; readers open it read-only.

CREATE TABLE IF NOT EXISTS meta (schema_version INTEGER NOT NULL);

CREATE TABLE IF NOT EXISTS datasets (
    name VARCHAR NOT NULL,
    version VARCHAR,
    annotation_source VARCHAR,      -- paths or URLs of the annotation files
    annotation_sha256 VARCHAR,      -- of all files, in the order given
    licence VARCHAR,
    clips BIGINT,                   -- published clip ids
    ingested_at TIMESTAMP
);

-- One row per published clip, the unit of accounting.
CREATE TABLE IF NOT EXISTS clips (
    clip_id VARCHAR NOT NULL,       -- <dataset>/<key>
    dataset VARCHAR NOT NULL,
    key VARCHAR NOT NULL,           -- the WebDataset __key__
    source_id VARCHAR,              -- YouTube id, or the dataset's own video name
    start_s DOUBLE,                 -- seconds in the source video; NULL: the whole file
    end_s DOUBLE,
    split VARCHAR,
    subsets VARCHAR[],
    labels VARCHAR[],
    label_ids INTEGER[],
    category VARCHAR,
    captions VARCHAR[],
    extra JSON,
    position BIGINT                 -- row order in the annotation files
);

-- The label vocabulary of a dataset.
CREATE TABLE IF NOT EXISTS labels (
    dataset VARCHAR NOT NULL,
    label_id INTEGER NOT NULL,
    label VARCHAR NOT NULL,
    mid VARCHAR,                    -- machine id: /m/… in AudioSet, vgg_<k> in VGGSound
    category VARCHAR
);

-- Labels of parts of a clip (AVE, LLP): half-open intervals in seconds from its start.
CREATE TABLE IF NOT EXISTS segments (
    clip_id VARCHAR NOT NULL,
    modality VARCHAR NOT NULL,      -- audio | visual | both
    label VARCHAR NOT NULL,
    label_id INTEGER,
    onset_s DOUBLE,
    offset_s DOUBLE
);

-- Annotation rows that could not be used, with the row number and the reason.
CREATE TABLE IF NOT EXISTS annotation_errors (
    dataset VARCHAR NOT NULL,
    file VARCHAR,
    row BIGINT,
    reason VARCHAR,
    text VARCHAR
);

-- Properties of the fetched files.
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
    av_offset_ms DOUBLE,            -- start of audio minus start of video
    fetched_at TIMESTAMP
);

-- Measured quality signals per clip and recipe; the recipe holds the thresholds.
CREATE TABLE IF NOT EXISTS quality (
    clip_id VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    verdict VARCHAR,                -- NULL: no finding
    detail VARCHAR,                 -- the signal and its value, for people
    silent_fraction DOUBLE,
    still_fraction DOUBLE,
    black_fraction DOUBLE,
    loudness_lufs DOUBLE,
    clipped_fraction DOUBLE,
    decode_errors INTEGER,
    extracted_at TIMESTAMP,
    seq BIGINT                      -- as attempts.seq
);

-- Status of each clip: exactly one row per clip and stage.
CREATE TABLE IF NOT EXISTS status (
    clip_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,         -- 'fetch', or '<recipe>-<fp8>'
    status VARCHAR NOT NULL,        -- stored | rejected | gone | retryable | pending
    verdict VARCHAR,
    attempts INTEGER,
    not_before TIMESTAMP,
    updated_at TIMESTAMP,
    position BIGINT,                -- clips.position, by which the rows are ordered
    seq BIGINT                      -- of the attempt or extraction that it follows from
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
    path VARCHAR,                   -- the fetched file (outcome stored)
    offset_s DOUBLE,                -- start of the clip in that file, in seconds
    not_before TIMESTAMP,           -- earliest next attempt
    charged BOOLEAN,                -- counts towards the limit (a rate limit does not)
    sha256 VARCHAR,                 -- of a file that this attempt committed to the store
    bytes BIGINT,
    modified_at TIMESTAMP,          -- modification time of the file at path
    seq BIGINT                      -- order of the store's events; older ones: negative, by time
);

-- Extraction stages: one per dataset, recipe and fingerprint.
CREATE TABLE IF NOT EXISTS stages (
    stage VARCHAR NOT NULL,         -- <recipe>-<fp8>
    dataset VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL
);

-- Clips of each planned shard, saved before any of it is built.
CREATE TABLE IF NOT EXISTS plans (
    shard VARCHAR NOT NULL,         -- shards.path
    dataset VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    clip_ids VARCHAR[],
    done BOOLEAN NOT NULL,          -- its sidecar is in the manifest
    first_position BIGINT,          -- clips.position of its clips (a hint that is checked)
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
    frame_times FLOAT[],            -- presentation time of each frame, in seconds from the start
    fbank_frames INTEGER,
    duration_s DOUBLE,
    crc32 BIGINT,                   -- of the members' concatenated contents
    range_offset BIGINT,            -- range of all members in the tar, headers included
    range_bytes BIGINT
);

CREATE TABLE IF NOT EXISTS features (
    feature VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    parameters JSON,
    code_version VARCHAR,
    library_versions JSON,
    weights_sha256 VARCHAR
);

-- One row per clip in a companion shard of a derived feature.
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
    source_sha256 VARCHAR,          -- of the input that it was computed from
    crc32 BIGINT                    -- of the content
);

-- Ledger files whose rows are in this manifest.
CREATE TABLE IF NOT EXISTS ledger_files (
    name VARCHAR NOT NULL,
    seal VARCHAR                    -- digits of its seal, or its sha256 if it has none
);

-- Task streams: ordered tasks, each a query that returns clip_id.
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
    outcome VARCHAR,
    seq BIGINT                      -- as attempts.seq
);

-- Dropped shards, base and companion: no row refers to them, and gc removes their files.
CREATE TABLE IF NOT EXISTS dropped (
    shard VARCHAR NOT NULL,         -- relative to the store
    dropped_at TIMESTAMP
);

-- Mean and standard deviation of the unnormalised fbanks of a set of clips.
CREATE TABLE IF NOT EXISTS statistics (
    name VARCHAR NOT NULL,          -- name to refer to it by
    dataset VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,         -- <recipe>-<fp8>
    query VARCHAR NOT NULL,         -- selects the clips
    clips BIGINT,
    frames BIGINT,
    mean DOUBLE,
    std DOUBLE,
    samples_sha256 VARCHAR,         -- fingerprint of the sample list
    computed_at TIMESTAMP
);
