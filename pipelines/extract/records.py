"""Define the records that a clip's extraction takes and returns."""

from dataclasses import dataclass

from avstore.manifests.verdicts import Verdict
from avstore.manifests.video_record import StoredVideo


class Rejected(Exception):  # noqa: N818 - a finding about a clip, not an error of the program
    """Report that a clip cannot be used.

    Attributes:
        verdict: The reason, from the closed list.
        detail: The signal and its measured value.
        by_policy: Whether a limit or an allow-list refuses the file, whatever its state.
    """

    def __init__(self, verdict: Verdict, detail: str, *, by_policy: bool = False) -> None:
        super().__init__(f"{verdict}: {detail}")
        self.verdict = verdict
        self.detail = detail
        self.by_policy = by_policy


@dataclass(frozen=True, slots=True)
class ClipSource:
    """Locate a clip's media.

    Attributes:
        clip_id: `<dataset>/<key>`.
        key: The clip's WebDataset key.
        path: A local file.
        offset_s: Start of the clip within the file, in seconds.
        duration_s: Wanted seconds; 0 takes the recipe's duration, infinity the rest of the file
            up to the recipe's duration.
    """

    clip_id: str
    key: str
    path: str
    offset_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """Describe a file by its container and streams; fields are columns of table `media`.

    Attributes:
        bytes: File size.
        sha256: Hex digest of the file.
        container: FFmpeg's name of the demuxer.
        duration_s: Duration that the container declares, in seconds.
        video_codec: Canonical codec name.
        width: Coded width in pixels.
        height: Coded height in pixels.
        fps: Average frame rate, frames per second.
        frames: Number of frames that the container declares.
        rotation: Degrees counterclockwise by which the picture is turned for display.
        audio_codec: Canonical codec name.
        audio_rate: Samples per second.
        audio_channels: Number of channels.
        av_offset_ms: Start of the audio minus start of the video, in milliseconds.
    """

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
    """Hold the measured signals of a clip's own seconds.

    Attributes:
        silent_fraction: Share of 100 ms blocks below the recipe's level, in [0, 1].
        still_fraction: Share of neighbouring frames without visible change, in [0, 1].
        black_fraction: Share of black frames, in [0, 1].
        loudness_lufs: Integrated loudness (ITU-R BS.1770-4) in LUFS; None for silence.
        clipped_fraction: Share of native samples at full scale, in [0, 1].
        decode_errors: Number of demuxer and decoder errors.
        video_covered_fraction: Share of the clip's seconds with pictures, in [0, 1].
        audio_covered_fraction: Share of the clip's seconds with sound, zeros for gaps not counted.
        largest_gap_s: Longest stretch without pictures or without sound, in seconds.
        repeated_frames: Number of stored frames that repeat the frame before them.
        loudest_dbfs: RMS of the loudest 100 ms block, in dB of full scale.
        largest_change: Largest change of a part of the picture, in luma levels.
        brightest_luma: Luma of the brightest pixel of all frames, 0 to 255.
    """

    silent_fraction: float | None = None
    still_fraction: float | None = None
    black_fraction: float | None = None
    loudness_lufs: float | None = None
    clipped_fraction: float | None = None
    decode_errors: int = 0
    video_covered_fraction: float | None = None
    audio_covered_fraction: float | None = None
    largest_gap_s: float | None = None
    repeated_frames: int | None = None
    loudest_dbfs: float | None = None
    largest_change: float | None = None
    brightest_luma: int | None = None


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """Hold what one decode pass gives for one clip.

    Attributes:
        clip_id: `<dataset>/<key>`.
        verdict: None, or the reason why the clip is rejected (no members) or flagged (members).
        detail: The signal behind the verdict and its measured value.
        media: Facts about the file.
        quality: Measured signals.
        members: (suffix, content) in store order, without the json member.
        frame_times: Presentation time of each stored frame, in seconds from the clip's start.
        fbank_frames: Number of fbank rows.
        duration_s: Seconds of the stored waveform.
        video: The stored moving pictures, if the recipe wants them.
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
    video: StoredVideo | None = None
