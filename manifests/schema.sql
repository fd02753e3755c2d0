-- The manifest: an index of the store, rebuilt at any time from the shards' sidecars and the ledger.
-- Only the driver process writes to it; readers open it read-only. The comments of this file and of
-- views*.sql are the COMMENTs in the manifest (comments.py): FROM schema_help lists them.

-- Version of the manifest's tables and views.
CREATE TABLE IF NOT EXISTS meta (
    schema_version INTEGER NOT NULL -- avstore migrates an older manifest when it opens it
);

-- Datasets of the store, with the source of their annotations.
CREATE TABLE IF NOT EXISTS datasets (
    name VARCHAR NOT NULL,          -- name of the dataset
    version VARCHAR,                -- version of its annotations
    annotation_source VARCHAR,      -- paths or URLs of the annotation files
    annotation_sha256 VARCHAR,      -- of all files, in the order given
    licence VARCHAR,                -- licence note of the dataset card
    clips BIGINT,                   -- published clip ids
    ingested_at TIMESTAMP           -- when the annotations were read (UTC)
);

-- One row per published clip, the unit of accounting.
CREATE TABLE IF NOT EXISTS clips (
    clip_id VARCHAR NOT NULL,       -- <dataset>/<key>
    dataset VARCHAR NOT NULL,       -- name of the dataset
    key VARCHAR NOT NULL,           -- the WebDataset __key__
    source_id VARCHAR,              -- YouTube id, or the dataset's own video name
    start_s DOUBLE,                 -- seconds in the source video; NULL: the whole file
    end_s DOUBLE,                   -- end in the source video, in seconds; NULL: end of the file
    split VARCHAR,                  -- train, val, test, or the dataset's own name
    subsets VARCHAR[],              -- published lists that contain the clip
    labels VARCHAR[],               -- names of the classes; empty without labels
    label_ids INTEGER[],            -- numbers of the classes, in the order of labels
    category VARCHAR,               -- group of classes, if the dataset has groups
    captions VARCHAR[],             -- sentences about the clip
    extra JSON,                     -- further columns of the annotation file
    position BIGINT                 -- row order in the annotation files
);

-- The label vocabulary of a dataset.
CREATE TABLE IF NOT EXISTS labels (
    dataset VARCHAR NOT NULL,
    label_id INTEGER NOT NULL,      -- number of the class
    label VARCHAR NOT NULL,         -- name of the class
    mid VARCHAR,                    -- machine id: /m/… in AudioSet, vgg_<k> in VGGSound
    category VARCHAR                -- group of the class
);

-- Labels of parts of a clip (AVE, LLP): half-open intervals in seconds from its start.
CREATE TABLE IF NOT EXISTS segments (
    clip_id VARCHAR NOT NULL,
    modality VARCHAR NOT NULL,      -- audio | visual | both
    label VARCHAR NOT NULL,         -- name of the class
    label_id INTEGER,               -- number of the class
    onset_s DOUBLE,                 -- start, in seconds from the start of the clip
    offset_s DOUBLE                 -- end, in seconds from the start of the clip
);

-- Labels of clips by further label sets, beside clips.labels (VGGSounder's of VGGSound).
CREATE TABLE IF NOT EXISTS clip_labels (
    clip_id VARCHAR NOT NULL,
    label_set VARCHAR NOT NULL,     -- name of the label set
    modality VARCHAR NOT NULL,      -- audio | visual | both: where the class can be perceived
    label VARCHAR NOT NULL,         -- name of the class
    label_id INTEGER,               -- number of the class
    extra JSON                      -- further columns of the file
);

-- Annotation rows that could not be used, with the row number and the reason.
CREATE TABLE IF NOT EXISTS annotation_errors (
    dataset VARCHAR NOT NULL,
    file VARCHAR,                   -- annotation file
    row BIGINT,                     -- row number in the file
    reason VARCHAR,                 -- why the row could not be used
    text VARCHAR                    -- the row
);

-- Properties of the fetched files.
CREATE TABLE IF NOT EXISTS media (
    clip_id VARCHAR NOT NULL,
    path VARCHAR,                   -- fetched file, relative to the store if it is inside
    bytes BIGINT,                   -- size of the file
    sha256 VARCHAR,                 -- hex digest of the file
    container VARCHAR,              -- format of the file, in FFmpeg's words
    duration_s DOUBLE,              -- duration of the file, in seconds
    video_codec VARCHAR,            -- codec of the pictures
    width INTEGER,                  -- width in pixels
    height INTEGER,                 -- height in pixels
    fps DOUBLE,                     -- frames per second
    frames INTEGER,                 -- number of video frames in the file
    rotation INTEGER,               -- rotation to display, in degrees
    audio_codec VARCHAR,            -- codec of the sound; NULL: no sound
    audio_rate INTEGER,             -- sampling rate, in Hz
    audio_channels INTEGER,         -- number of channels
    av_offset_ms DOUBLE,            -- start of the audio minus start of the video
    fetched_at TIMESTAMP            -- when the file was fetched (UTC)
);

-- Measured quality signals per clip and recipe; the recipe holds the thresholds.
CREATE TABLE IF NOT EXISTS quality (
    clip_id VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,   -- fingerprint of the recipe (sha256 of its settings)
    verdict VARCHAR,                -- why it is not usable, or its flag; NULL: no finding
    detail VARCHAR,                 -- the signal and its value, for people
    silent_fraction DOUBLE,         -- part of the clip that is silent, from 0 to 1
    still_fraction DOUBLE,          -- part of the clip without motion, from 0 to 1
    black_fraction DOUBLE,          -- part of the clip that is black, from 0 to 1
    loudness_lufs DOUBLE,           -- loudness, in LUFS
    clipped_fraction DOUBLE,        -- part of the sound at full scale, from 0 to 1
    decode_errors INTEGER,          -- errors that the decoders reported
    extracted_at TIMESTAMP,         -- when the clip was extracted (UTC)
    seq BIGINT,                     -- order of the store's events, as attempts.seq
    video_covered_fraction DOUBLE,  -- part of the clip's seconds with pictures, from 0 to 1
    audio_covered_fraction DOUBLE,  -- part of the clip's seconds with sound (also silent sound), from 0 to 1
    largest_gap_s DOUBLE,           -- longest stretch without pictures or without sound, in seconds
    repeated_frames INTEGER,        -- stored frames that repeat the frame before them
    loudest_dbfs DOUBLE,            -- the loudest 100 ms, in dB of full scale
    largest_change DOUBLE,          -- change of the part of the picture that changes most, from 0 to 255
    brightest_luma INTEGER          -- the brightest pixel of all frames, from 0 to 255
);

-- Status of each clip: exactly one row per clip and stage.
CREATE TABLE IF NOT EXISTS status (
    clip_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,         -- 'fetch', or <recipe>-<fp8> (8 digits of the fingerprint)
    status VARCHAR NOT NULL,        -- stored | rejected | gone | absent | retryable | pending
    verdict VARCHAR,                -- why the clip is not usable, or its flag; NULL: no finding
    attempts INTEGER,               -- attempts that count towards the limit
    not_before TIMESTAMP,           -- earliest next attempt (UTC)
    updated_at TIMESTAMP,           -- when the status was reached (UTC); NULL: not tried yet
    position BIGINT,                -- clips.position, by which the rows are ordered
    seq BIGINT                      -- seq of the attempt or extraction that it follows from
);

-- Attempts to fetch a clip: every one of them is kept.
CREATE TABLE IF NOT EXISTS attempts (
    clip_id VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,         -- 'fetch', or '<recipe>-<fp8>'
    started_at TIMESTAMP,           -- when the attempt began (UTC)
    seconds DOUBLE,                 -- duration of the attempt
    outcome VARCHAR,                -- as status.status
    error_class VARCHAR,            -- a verdict, or NULL
    error_message VARCHAR,          -- message of the source or tool
    tool_version VARCHAR,           -- tool that fetched or extracted, with its version
    run_id VARCHAR,                 -- run that made the attempt
    path VARCHAR,                   -- the fetched file (outcome stored)
    offset_s DOUBLE,                -- start of the clip in that file, in seconds
    not_before TIMESTAMP,           -- earliest next attempt (UTC)
    charged BOOLEAN,                -- counts towards the limit (a rate limit does not)
    sha256 VARCHAR,                 -- of a file that this attempt committed to the store
    bytes BIGINT,                   -- size of that file
    modified_at TIMESTAMP,          -- modification time of the file at path (UTC)
    seq BIGINT                      -- order of the store's events; older ones: negative, by time
);

-- Extraction stages: one per dataset, recipe and fingerprint.
CREATE TABLE IF NOT EXISTS stages (
    stage VARCHAR NOT NULL,         -- <recipe>-<fp8>
    dataset VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,        -- name of the extraction recipe
    fingerprint VARCHAR NOT NULL
);

-- Clips of each planned shard, saved before any of it is built.
CREATE TABLE IF NOT EXISTS plans (
    shard VARCHAR NOT NULL,         -- shards.path
    dataset VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,         -- <recipe>-<fp8>
    split VARCHAR NOT NULL,         -- split of its clips
    number INTEGER NOT NULL,        -- number of the shard within its split
    clip_ids VARCHAR[],             -- its clips, in order
    done BOOLEAN NOT NULL,          -- its sidecar is in the manifest
    first_position BIGINT,          -- clips.position of its clips (a hint that is checked)
    last_position BIGINT            -- clips.position of its last clip
);

-- Shards of the store, one row per base shard.
CREATE TABLE IF NOT EXISTS shards (
    path VARCHAR NOT NULL,          -- tar file, relative to the store
    dataset VARCHAR NOT NULL,
    recipe VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    clips BIGINT,                   -- number of stored clips
    bytes BIGINT,                   -- size of the tar
    sha256 VARCHAR                  -- hex digest of the tar
);

-- Stored clips: one row per clip and recipe, with the place of each member in the shard.
CREATE TABLE IF NOT EXISTS samples (
    clip_id VARCHAR NOT NULL,
    shard VARCHAR NOT NULL,         -- tar file, relative to the store (shards.path)
    fingerprint VARCHAR NOT NULL,
    position INTEGER,               -- within the shard
    members VARCHAR,                -- suffixes in order, separated by a space: 'json fbank.npy flac f000.jpg …'
    offsets BIGINT[],               -- of each member's content in the tar
    sizes INTEGER[],                -- of each member's content, in bytes
    frame_count INTEGER,            -- number of frames
    frame_times FLOAT[],            -- presentation time of each frame, in seconds from the start
    fbank_frames INTEGER,           -- frames of the filter bank, of 10 ms
    duration_s DOUBLE,              -- duration of the stored clip, in seconds
    crc32 BIGINT,                   -- of the members' concatenated contents
    range_offset BIGINT,            -- range of all members in the tar, headers included
    range_bytes BIGINT,             -- length of that range, in bytes
    video_frames INTEGER,           -- pictures of the stored video (mp4); NULL: no video
    video_rate DOUBLE,              -- pictures per second of the stored video
    gop_frames INTEGER,             -- pictures from key frame to key frame: a group
    gop_offsets INTEGER[],          -- of each group in the mp4, and the end of the last, in bytes
    gop_crc32 BIGINT[],             -- CRC-32 of each group's bytes
    video_codec VARCHAR             -- av1 | h264
);

-- Derived features, one row per version: how each was computed.
CREATE TABLE IF NOT EXISTS features (
    feature VARCHAR NOT NULL,       -- name of the derived feature
    fingerprint VARCHAR NOT NULL,   -- of the feature: its settings, code and weights
    parameters JSON,                -- settings of the extractor
    code_version VARCHAR,           -- version of the extractor
    library_versions JSON,          -- libraries that computed it, with their versions
    weights_sha256 VARCHAR          -- hex digest of the weights
);

-- One row per clip in a companion shard of a derived feature.
CREATE TABLE IF NOT EXISTS feature_samples (
    shard VARCHAR NOT NULL,         -- the companion shard, relative to the store
    feature VARCHAR NOT NULL,       -- name of the derived feature
    fingerprint VARCHAR NOT NULL,   -- features.fingerprint
    clip_id VARCHAR NOT NULL,
    position INTEGER,               -- within the shard, as in the base shard
    "offset" BIGINT,                -- of the value's content (.npy) in the tar
    size BIGINT,                    -- of the content, in bytes
    shape VARCHAR,                  -- shape of the array
    dtype VARCHAR,                  -- element type of the array
    source_sha256 VARCHAR,          -- of the input that it was computed from; NULL: imported
    crc32 BIGINT                    -- of the content
);

-- Arrays of imported archives that were not stored, with the reason.
CREATE TABLE IF NOT EXISTS feature_problems (
    feature VARCHAR NOT NULL,       -- name of the imported feature
    fingerprint VARCHAR NOT NULL,   -- features.fingerprint
    dataset VARCHAR NOT NULL,
    clip_id VARCHAR,                -- the array's clip; NULL: of no published clip
    source VARCHAR NOT NULL,        -- name of the archive or folder
    member VARCHAR NOT NULL,        -- path of the array in it
    reason VARCHAR NOT NULL,        -- extra | ambiguous | truncated | damaged | pickled | no_array | wrong_shape | wrong_dtype | not_finite | refused | differs | unknown_class | missing_maps (stored without them)
    detail VARCHAR                  -- what was found, for people
);

-- Ledger files whose rows are in this manifest.
CREATE TABLE IF NOT EXISTS ledger_files (
    name VARCHAR NOT NULL,          -- name of the file
    seal VARCHAR                    -- digits of its seal, or its sha256 if it has none
);

-- Task streams: ordered tasks, each a query that returns clip_id.
CREATE TABLE IF NOT EXISTS tasks (
    stream VARCHAR NOT NULL,        -- name of the task stream
    position INTEGER NOT NULL,      -- place of the task in the stream, from 0
    task VARCHAR NOT NULL,          -- name of the task
    role VARCHAR NOT NULL,          -- train | eval | retrieval
    query VARCHAR NOT NULL          -- SQL that selects the clips
);

-- Runs that wrote to the store.
CREATE TABLE IF NOT EXISTS runs (
    run_id VARCHAR NOT NULL,        -- name of the run
    command VARCHAR,                -- command line
    config JSON,                    -- settings of the run
    git_commit VARCHAR,             -- commit of the code
    host JSON,                      -- facts of the machine
    started_at TIMESTAMP,           -- when the run began (UTC)
    ended_at TIMESTAMP,             -- when it ended (UTC); NULL: it runs, or was killed
    outcome VARCHAR,                -- how it ended
    seq BIGINT                      -- order of the store's events, as attempts.seq
);

-- Dropped shards, base and companion: no row refers to them, and gc removes their files.
CREATE TABLE IF NOT EXISTS dropped (
    shard VARCHAR NOT NULL,         -- relative to the store
    dropped_at TIMESTAMP            -- when it was dropped (UTC)
);

-- Mean and standard deviation of the unnormalised fbanks of a set of clips.
CREATE TABLE IF NOT EXISTS statistics (
    name VARCHAR NOT NULL,          -- name to refer to it by
    dataset VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,         -- <recipe>-<fp8>
    query VARCHAR NOT NULL,         -- selects the clips
    clips BIGINT,                   -- number of the clips
    frames BIGINT,                  -- number of fbank frames
    mean DOUBLE,                    -- mean over all values
    std DOUBLE,                     -- standard deviation over all values
    samples_sha256 VARCHAR,         -- fingerprint of the sample list
    computed_at TIMESTAMP           -- when they were computed (UTC)
);
