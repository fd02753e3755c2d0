"""What a checkpoint remembers of a sample list, and what has changed since."""

import zlib
from dataclasses import dataclass

from avstore.manifests.store import StoreError
from avstore.train.data.samples import SampleList


class ChangedDataError(StoreError):
    """A checkpoint is of another list of samples than the store gives now."""


@dataclass(frozen=True)
class Remembered:
    """A list by its fingerprint, and its clips (zlib of their ids, a line each)."""

    fingerprint: str
    clips: bytes

    @staticmethod
    def of(samples: SampleList) -> "Remembered":
        return Remembered(samples.fingerprint, zlib.compress("\n".join(samples.clip_ids).encode()))

    def check(self, samples: SampleList, where: str = "the checkpoint") -> None:
        """Raises ChangedDataError naming what was added and removed since."""
        if self.fingerprint != samples.fingerprint:
            raise ChangedDataError(f"{where} is of other samples: {self.difference(samples)}")

    def difference(self, samples: SampleList) -> str:
        """Which clips came and went, in words."""
        before = set(zlib.decompress(self.clips).decode().split("\n"))
        now = set(samples.clip_ids)
        parts = [
            f"{len(clips)} {word} ({', '.join(sorted(clips)[:3])}{', …' * (len(clips) > 3)})"
            for word, clips in (("added", now - before), ("removed", before - now))
            if clips
        ]
        return " and ".join(parts) or (
            "the same clips with other content (shards or weights), of a rebuilt store"
        )
