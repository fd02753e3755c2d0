"""Record a sample list in a checkpoint, and name what has changed when a run resumes."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from avstore.manifests.library import open_store
from avstore.manifests.store import StoreError
from avstore.train.data.list_sketch import Hashes, difference, hashes_of, names_in
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
        clips: Outline of its clips: up to 500 clip ids, or all in records of earlier versions; of
            more clips a sketch of 8 KB, from which a difference is found (`list_sketch`).
    """

    fingerprint: str
    clips: bytes

    @staticmethod
    def of(samples: SampleList) -> "SampleListRecord":
        """Record a list."""
        return SampleListRecord(samples.fingerprint, samples.outline)

    def check(self, samples: SampleList, origin: str = "the checkpoint") -> None:
        """Compare the record with a list.

        Raises:
            ChangedDataError: If they differ; it says which clips were added and removed.
        """
        if self.fingerprint != samples.fingerprint:
            raise ChangedDataError(f"{origin} is of other samples: {self.difference(samples)}")

    def difference(self, samples: SampleList) -> str:
        """Describe which clips were added to the list and removed since it was recorded.

        Of a sketch, removed clips have names if the store's manifest still lists them, and a
        difference of more than about 50 clips is estimated from a random sample of it.
        """
        before = names_in(self.clips)
        if before is None:
            return _sketched(self.clips, samples)
        now = set(samples.clip_ids)
        parts = [_part("added", now - before), _part("removed", before - now)]
        return _joined(parts)


def _joined(parts: list[str]) -> str:
    return " and ".join(filter(None, parts)) or (
        "the same clips with other content (shards or weights), of a rebuilt store"
    )


def _sketched(outline: bytes, samples: SampleList) -> str:
    """Describe the difference to a list of which there is a sketch."""
    clips = samples.columns.chunks["clip_id"]
    hashes = hashes_of(clips)
    found = difference(outline, hashes)
    added, removed = _named(clips, hashes, found.added), set[str]()
    if len(found.removed):
        known = _known_clips(samples)
        removed = _named(known, hashes_of(known), found.removed)
    parts = [
        _part("added", added, len(found.added), found.share),
        _part("removed", removed, len(found.removed), found.share),
    ]
    if found.share == 1:
        return _joined(parts)
    changed = " and ".join(filter(None, parts)) or "clips that cannot be named"
    return f"{changed}; it had {found.before:,} clips and has {len(samples):,}"


def _named(clips: pa.Array, hashes: Hashes, wanted: Hashes) -> set[str]:
    """Return the clips that have one of the wanted hashes."""
    return {clips[place].as_py() for place in np.flatnonzero(np.isin(hashes, wanted)).tolist()}


def _known_clips(samples: SampleList) -> pa.Array:
    """Return all clip ids of the manifest; none if it cannot be read."""
    try:
        found = open_store(samples.url, **dict(samples.options)).query("SELECT clip_id FROM clips")
    except StoreError:
        return pa.array([], pa.string())
    return found.table["clip_id"].combine_chunks()


def _part(word: str, names: Collection[str], count: int | None = None, share: float = 1.0) -> str:
    """Return the number of clips and the names of three, or '' for none.

    Args:
        word: What was done to them.
        names: Those whose names are known.
        count: How many were found; by default those.
        share: Expected share of all that were found.
    """
    count = len(names) if count is None else count
    if not count:
        return ""
    number = f"{count}" if share == 1 else f"about {float(f'{count / share:.1g}'):,.0f}"
    if not names:
        return f"{number} {word} (the manifest does not list them any more)"
    more = count > len(names) or len(names) > 3 or share < 1
    return f"{number} {word} ({', '.join(sorted(names)[:3])}{', …' * more})"
