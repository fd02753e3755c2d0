"""Names of what a batch and a sample hold, in one place."""

ALIASES = {"frames": "video", "audio": "fbank"}
"""Other names of keys of a batch."""

INFORMATION = ("clip_id", "labels", "frame_times", "waveform_start", "sample_rate")
"""What a transform of samples is told and cannot change."""

RESERVED = frozenset(
    {
        *("video", "audio", "frames", "fbank", "waveform", "masks", "labels", "clip_ids"),
        *("step", "epoch", "indices", "origin", "padded", "slots", "clips", "problems"),
        *("audio_frames", "audio_roll", "audio_mask", "video_frames", "video_mask"),
        *("frames_valid", "waveform_samples", "mask_known", "mask_unknown", "features", "extras"),
        *("mixed_with", "share", "jpegs", "normalise_pixels", "device_fbank"),
        *INFORMATION,
    }
)
"""Names that columns of a query, and what a transform adds, cannot have."""
