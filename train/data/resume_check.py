"""Record a sample list in a checkpoint, and name what has changed when a run resumes."""

import zlib
from dataclasses import dataclass

from avstore.manifests.store import StoreError
from avstore.train.data.samples import SampleList


class ChangedDataError(StoreError):
    """The sample list differs from the one that a checkpoint records.

    Example:
        >>> spec = BatchSpec(batch_size=4)
        >>> state = Loader(samples, spec).state_dict()
        >>> fewer = sample_list(open_store("data"), "SELECT clip_id FROM clips LIMIT 20")
        >>> loader = Loader(fewer, spec)
        >>> try:
        ...     loader.load_state_dict(state)
        ... except ChangedDataError:
        ...     loader.load_state_dict(state, allow_changed_data=True)
    """


@dataclass(frozen=True)
class SampleListRecord:
    """A checkpoint's record of a sample list.

    Attributes:
        fingerprint: Fingerprint of the list.
        clips: Its clip ids, one in a line, compressed by zlib.
    """

    fingerprint: str
    clips: bytes

    @staticmethod
    def of(samples: SampleList) -> "SampleListRecord":
        """Record a list."""
        clips = zlib.compress("\n".join(samples.clip_ids).encode())
        return SampleListRecord(samples.fingerprint, clips)

    def check(self, samples: SampleList, origin: str = "the checkpoint") -> None:
        """Compare the record with a list.

        Raises:
            ChangedDataError: If they differ; it names the clips that were added and removed.
        """
        if self.fingerprint != samples.fingerprint:
            raise ChangedDataError(f"{origin} is of other samples: {self.difference(samples)}")

    def difference(self, samples: SampleList) -> str:
        """Describe which clips were added to the list and removed since it was recorded."""
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
