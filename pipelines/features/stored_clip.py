"""Read and decode a stored clip's members for extractors, and hash what was read."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import simplejpeg
import soxr
from numpy.typing import NDArray

from avstore.manifests.members import read_members
from avstore.manifests.npy import load_npy
from avstore.manifests.shard_reader import ByteRange, Reader, ReadError
from avstore.manifests.store import StoreError
from avstore.manifests.stored_audio import decode_stored_audio
from avstore.manifests.video_record import StoredVideo
from avstore.manifests.video_windows import Window, decode_window, windows

READ_LIBRARIES = {
    "frames": ("simplejpeg",),
    "video": ("av",),
    "waveform": ("av", "soxr"),
    "fbank": ("numpy",),
}
"""The packages that decode what an extractor reads."""

_VIDEO = "mp4"


@dataclass(frozen=True)
class StoredClip:
    """Read one clip of an open base shard, or one label of a vocabulary.

    Attributes:
        clip_id: `<dataset>/<key>`.
        reader: Reads the base shard.
        ranges: Its members' byte ranges by suffix, in the shard's order.
        duration_s: Length of the clip in seconds.
        labels: The clip's labels, if the extractor reads them.
        video: Its stored video, if the extractor reads it and the clip has one.
        text: The label, for features of a vocabulary.
    """

    clip_id: str
    reader: Reader | None = None
    ranges: Mapping[str, ByteRange] = field(default_factory=dict)
    duration_s: float = 0.0
    labels: tuple[str, ...] | None = None
    text: str = ""
    video: StoredVideo | None = None
    _seen: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def frame_names(self) -> list[str]:
        """Return the suffixes of the stored frames, in order."""
        return [suffix for suffix in self.ranges if suffix.endswith(".jpg")]

    def frames(self, indices: Sequence[int] | None = None) -> list[NDArray[np.uint8]]:
        """Decode frames to uint8 RGB, (height, width, 3) each.

        Args:
            indices: Positions of the frames; None for all of them.

        Raises:
            StoreError: The clip has no frames.
        """
        names = self.frame_names
        if not names:
            raise self._lacks("frames")
        wanted = range(len(names)) if indices is None else indices
        return [self._frame(names[i]) for i in wanted]

    def evenly(self, count: int) -> list[NDArray[np.uint8]]:
        """Decode `count` frames, evenly by index, as uint8 RGB (height, width, 3) each.

        Indices are linspace(0, n - 1, count) rounded half to even, repeats included: the rule of
        VALOR and AVVP for CLIP, ResNet-152 and R(2+1)D.
        """
        last = len(self.frame_names) - 1
        return self.frames([int(i) for i in np.rint(np.linspace(0, max(last, 0), count))])

    @property
    def video_seconds(self) -> float:
        """Return the length of the stored video.

        Raises:
            StoreError: The clip has no stored video.
        """
        video = self._stored_video()
        return video.frames / video.rate

    def pictures(self, times: Sequence[float]) -> list[NDArray[np.uint8]]:
        """Decode pictures of the stored video to uint8 RGB, (height, width, 3) each.

        Args:
            times: In seconds from the clip's start, in order; each gets the picture shown then,
                and one after the video's end its last one.

        Raises:
            StoreError: The clip has no stored video.
        """
        video = self._stored_video()
        # 1e-6: a time that is a picture's own may come out just below it.
        numbers = [min(int(time * video.rate + 1e-6), video.frames - 1) for time in times]
        content = memoryview(self._read(_VIDEO))
        with self._decoding(_VIDEO):
            found = dict(
                picture
                for window in windows(video, numbers)
                for picture in decode_window(content[_span(window)], video, window)
            )
        return [found[number] for number in numbers]

    def waveform(self, rate: int | None = None, channels: int = 1) -> NDArray[np.float32]:
        """Decode the waveform, float32 in [-1, 1].

        Args:
            rate: Samples per second; None keeps the stored rate.
            channels: Channels that the clip must have.

        Returns:
            (samples,) of one channel, (channels, samples) of more.

        Raises:
            StoreError: The clip has no audio, or another number of channels.
        """
        names = [suffix for suffix in self.ranges if suffix in ("flac", "wav")]
        if not names:
            raise self._lacks("audio")
        with self._decoding(names[0]):
            samples, stored = _decode_audio(self._read(names[0]), channels)
        if rate is None or rate == stored:
            return samples
        resampled = soxr.resample(samples.T, stored, rate, quality="HQ").T
        return np.ascontiguousarray(resampled, np.float32)

    audio = waveform  # its first name, in extractors of users

    def fbank(self) -> NDArray[np.float32]:
        """Read the log-mel filter bank, float32 (frames, mels), not normalised.

        Raises:
            StoreError: The clip has no fbank.
        """
        if "fbank.npy" not in self.ranges:
            raise self._lacks("fbank")
        with self._decoding("fbank.npy"):
            return np.asarray(load_npy(self._read("fbank.npy")), np.float32)

    def source_sha256(self) -> str:
        """Return the sha256 of the members read so far, in the shard's order, labels and text."""
        digest = hashlib.sha256()
        for suffix in self.ranges:
            digest.update(self._seen.get(suffix, b""))
        if self.labels is not None:
            digest.update(_canonical_labels(self.labels))
        digest.update(self.text.encode())
        return digest.hexdigest()

    def drop_cache(self) -> None:
        """Free the contents that were read."""
        self._seen.clear()

    def _stored_video(self) -> StoredVideo:
        if self.video is None:
            raise self._lacks("video")
        return self.video

    def _read(self, suffix: str) -> bytes:
        if suffix not in self._seen:
            if self.reader is None:
                raise self._lacks(suffix)
            try:
                (content,) = read_members(self.reader, [self.ranges[suffix]])
            except ReadError as error:
                raise StoreError(f"{suffix} of {self.clip_id}: {error}") from error
            self._seen[suffix] = bytes(content)
        return self._seen[suffix]

    def _frame(self, suffix: str) -> NDArray[np.uint8]:
        content = self._read(suffix)
        with self._decoding(suffix):
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, colorspace="RGB")
        return pixels

    @contextmanager
    def _decoding(self, suffix: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, EOFError, MemoryError) as error:
            raise StoreError(f"{suffix} of {self.clip_id} cannot be decoded: {error}") from error

    def _lacks(self, what: str) -> StoreError:
        has = ", ".join(self.ranges) or "nothing"
        return StoreError(f"{self.clip_id} has no {what} in its shard; it has {has}")


def _span(window: Window) -> slice:
    """Return where the groups of a window are in its video."""
    return slice(window.range.offset, window.range.offset + window.range.size)


def labels_sha256(labels: Sequence[str]) -> str:
    """Return the sha256 of a set of labels, whatever their order."""
    return hashlib.sha256(_canonical_labels(labels)).hexdigest()


def _canonical_labels(labels: Sequence[str]) -> bytes:
    return json.dumps(sorted(set(labels)), ensure_ascii=False).encode()


def _decode_audio(content: bytes, channels: int) -> tuple[NDArray[np.float32], int]:
    """Return the samples of a 16-bit file in [-1, 1), and their rate.

    Raises:
        ValueError: The file has another number of channels.
    """
    samples, rate = decode_stored_audio(content, channels)
    if samples.dtype != np.int16:
        raise StoreError(f"stored audio must be 16-bit PCM, but this is {samples.dtype}")
    scaled = samples.astype(np.float32) / 32768.0
    return (scaled[0] if channels == 1 else scaled), rate
