"""The rows that workers hand to the driver: plain frozen data, no behaviour."""

from dataclasses import dataclass

from avstore.manifests.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Source:
    """Where a clip's media lies.

    path: a local file. offset_s: where in the file the clip starts. duration_s: seconds wanted.
    """

    clip_id: str
    key: str
    path: str
    offset_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What the container and its streams say. Names as the columns of `media`."""

    bytes: int
    sha256: str
    container: str | None = None
    duration_s: float | None = None
    video_codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    frames: int | None = None
    rotation: int | None = None
    audio_codec: str | None = None
    audio_rate: int | None = None
    audio_channels: int | None = None
    av_offset_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Quality:
    """Measured signals of the clip's own seconds. Fractions in [0, 1]; loudness in LUFS."""

    silent_fraction: float | None = None
    still_fraction: float | None = None
    black_fraction: float | None = None
    loudness_lufs: float | None = None
    clipped_fraction: float | None = None
    decode_errors: int = 0


@dataclass(frozen=True, slots=True)
class Extracted:
    """What one decode pass gives for one clip.

    verdict: None, or why it is rejected (members empty) or flagged (members present).
    detail: the signal and its value, in words.
    members: (suffix, content) in store order, without the json member.
    frame_times: seconds from the clip's start, the presentation time of each stored frame.
    """

    clip_id: str
    verdict: Verdict | None
    detail: str
    media: MediaFacts | None
    quality: Quality
    members: tuple[tuple[str, bytes], ...] = ()
    frame_times: tuple[float, ...] = ()
    fbank_frames: int = 0
    duration_s: float = 0.0
