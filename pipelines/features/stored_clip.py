"""A stored clip as an extractor sees it: members read and decoded when asked for, and hashed."""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import av
import numpy as np
import simplejpeg
import soxr
from numpy.typing import NDArray

from avstore.manifests.members import read_members
from avstore.manifests.shard_reader import ByteRange, Reader, ReadError
from avstore.manifests.store import StoreError

READ_LIBRARIES = {"frames": ("simplejpeg",), "audio": ("av", "soxr"), "fbank": ("numpy",)}
"""The packages that decode what an extractor reads."""


@dataclass(frozen=True)
class StoredClip:
    """One clip of a base shard, open for reading (or one label of a vocabulary).

    reader: reads the base shard; ranges: its members by suffix, in the shard's order. labels: from
    the manifest, where the extractor reads them. text: the label, for features of a vocabulary.
    """

    clip_id: str
    reader: Reader | None = None
    ranges: Mapping[str, ByteRange] = field(default_factory=dict)
    duration_s: float = 0.0
    labels: tuple[str, ...] | None = None
    text: str = ""
    _seen: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def frame_names(self) -> list[str]:
        return [suffix for suffix in self.ranges if suffix.endswith(".jpg")]

    def frames(self, indices: Sequence[int] | None = None) -> list[NDArray[np.uint8]]:
        """RGB pictures (height, width, 3), all of them or those at `indices`."""
        names = self.frame_names
        if not names:
            raise self._lacks("frames")
        wanted = range(len(names)) if indices is None else indices
        return [simplejpeg.decode_jpeg(self._read(names[i]), colorspace="RGB") for i in wanted]

    def evenly(self, count: int) -> list[NDArray[np.uint8]]:
        """`count` frames by index: round-half-even of linspace(0, n - 1, count), repeats included.

        The rule of VALOR and AVVP for CLIP, ResNet-152 and R(2+1)D.
        """
        last = len(self.frame_names) - 1
        return self.frames([int(i) for i in np.rint(np.linspace(0, max(last, 0), count))])

    def audio(self, rate: int | None = None) -> NDArray[np.float32]:
        """The waveform (samples,) in [-1, 1], at `rate` Hz (None: as stored)."""
        names = [suffix for suffix in self.ranges if suffix in ("flac", "wav")]
        if not names:
            raise self._lacks("audio")
        samples, stored = _decode_audio(self._read(names[0]))
        if rate is None or rate == stored:
            return samples
        return np.asarray(soxr.resample(samples, stored, rate, quality="HQ"), np.float32)

    def fbank(self) -> NDArray[np.float32]:
        """The log-mel filter bank (frames, mels), not normalised."""
        if "fbank.npy" not in self.ranges:
            raise self._lacks("fbank")
        content = io.BytesIO(self._read("fbank.npy"))
        return np.asarray(np.load(content, allow_pickle=False), np.float32)

    def source_sha256(self) -> str:
        """sha256 of the members read so far, in the shard's order, then of labels or text."""
        digest = hashlib.sha256()
        for suffix in self.ranges:
            digest.update(self._seen.get(suffix, b""))
        if self.labels is not None:
            digest.update(canonical_labels(self.labels).encode())
        digest.update(self.text.encode())
        return digest.hexdigest()

    def forget(self) -> "StoredClip":
        """The same clip without the contents that were read."""
        self._seen.clear()
        return self

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

    def _lacks(self, what: str) -> StoreError:
        has = ", ".join(self.ranges) or "nothing"
        return StoreError(f"{self.clip_id} has no {what} in its shard; it has {has}")


def canonical_labels(labels: Sequence[str]) -> str:
    """Labels as text whose hash stands for them: sorted, as JSON."""
    return json.dumps(sorted(set(labels)), ensure_ascii=False)


def _decode_audio(content: bytes) -> tuple[NDArray[np.float32], int]:
    """Samples in [-1, 1) of a mono 16-bit file, and their rate."""
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.audio[0]
        parts = [frame.to_ndarray().reshape(-1) for frame in container.decode(stream)]
        rate = int(stream.rate)
    samples = np.concatenate(parts) if parts else np.zeros(0, np.int16)
    if samples.dtype != np.int16:
        raise StoreError(f"stored audio must be 16-bit PCM, and this is {samples.dtype}")
    return samples.astype(np.float32) / 32768.0, rate
