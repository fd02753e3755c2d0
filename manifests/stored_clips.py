"""Find stored clips in the manifest and read their members: the reads of an `OpenStore`."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avstore.manifests.members import member_ranges, read_many, read_members
from avstore.manifests.npy import load_npy
from avstore.manifests.shard_reader import ByteRange, ReadError, Shard
from avstore.manifests.store import StoreError

if TYPE_CHECKING:
    from avstore.manifests.library import OpenStore

BASE_FEATURES = ("frames", "video", "waveform", "fbank", "json")
_FORMER_NAMES = {"audio": "waveform"}

_ENDINGS = {
    "frames": (".jpg",),
    "video": ("mp4",),
    "waveform": ("flac", "wav"),
    "fbank": ("fbank.npy",),
    "json": ("json",),
}
_BASE_ROWS = """
SELECT s.clip_id, s.fingerprint, s.members, s.offsets, s.sizes, s.crc32,
       s.shard, coalesce(h.sha256, '') AS sha256, coalesce(h.bytes, 0) AS bytes
FROM samples s JOIN shards h ON h.path = s.shard
WHERE s.clip_id IN (SELECT unnest($ids)) AND ($recipe IS NULL OR h.recipe = $recipe
      OR h.recipe || '-' || left(h.fingerprint, 8) = $recipe)
"""
_LAYOUTS = """
SELECT DISTINCT s.members FROM samples s JOIN shards h ON h.path = s.shard
WHERE s.clip_id IN (SELECT unnest($ids)) AND ($recipe IS NULL OR h.recipe = $recipe
      OR h.recipe || '-' || left(h.fingerprint, 8) = $recipe)
"""
_DERIVED_ROWS = """
SELECT clip_id, fingerprint, feature || '.npy' AS members, ["offset"] AS offsets, [size] AS sizes,
       crc32, shard, '' AS sha256, 0 AS bytes
FROM feature_samples
WHERE clip_id IN (SELECT unnest($ids))
  AND $feature IN (feature, feature || '-' || left(fingerprint, 8))
"""


def current_name(feature: str) -> str:
    """Return the name of a feature, also for the name that it had before ('audio')."""
    return _FORMER_NAMES.get(feature, feature)


@dataclass(frozen=True)
class StoredSample:
    """A stored clip with the contents of its members.

    Attributes:
        clip_id: `<dataset>/<key>`.
        key: WebDataset key of the members.
        fingerprint: Fingerprint of the recipe that the clip was extracted with.
        labels: Label names.
        split: Split that the clip belongs to.
        members: Content by suffix (`json`, `fbank.npy`, `flac`, `mp4`, `f000.jpg`, …).
    """

    clip_id: str
    key: str
    fingerprint: str
    labels: tuple[str, ...]
    split: str
    members: Mapping[str, bytes]

    @property
    def frames(self) -> list[bytes]:
        """JPEGs of the frames, in order of time."""
        return [content for name, content in self.members.items() if name.endswith(".jpg")]

    @property
    def waveform(self) -> bytes:
        """FLAC, or WAV of imported clips; empty if the clip has no sound."""
        return self.members.get("flac", self.members.get("wav", b""))

    @property
    def fbank(self) -> Any:
        """Filter bank, float16 [frames, mels], not normalised."""
        try:
            return load_npy(self.members["fbank.npy"])
        except ValueError as error:
            raise StoreError(f"fbank.npy of {self.clip_id}: {error}") from error


@dataclass(frozen=True)
class _Members:
    """Where the members of a clip are. crc32: of their contents, in order."""

    fingerprint: str
    ranges: dict[str, ByteRange]
    crc32: int | None


def read_sample(store: "OpenStore", clip_id: str, recipe: str | None) -> StoredSample:
    """Read all members of a clip; see `OpenStore.sample`."""
    found = _find_base(store, [clip_id], recipe)[clip_id]
    ranges = list(found.ranges.values())
    try:
        contents = read_members(store.reader, ranges, found.crc32)
    except ReadError as error:
        raise StoreError(f"{clip_id} in {ranges[0].shard.path}: {error}") from error
    sql = "SELECT key, labels, split FROM clips WHERE clip_id = ?"
    (facts,) = store.query(sql, [clip_id]).rows()
    return StoredSample(
        clip_id,
        facts["key"],
        found.fingerprint,
        tuple(facts["labels"] or ()),
        facts["split"],
        {suffix: bytes(part) for suffix, part in zip(found.ranges, contents, strict=True)},
    )


def read_feature(
    store: "OpenStore", feature: str, ids: list[str], recipe: str | None
) -> dict[str, Any]:
    """Read one feature of many clips; see `OpenStore.read`."""
    feature = current_name(feature)
    if feature not in BASE_FEATURES:
        return _read_derived(store, feature, ids)
    found = _find_base(store, ids, recipe)
    ranges = {i: _of_feature(feature, found[i].ranges) for i in ids}
    for clip_id in ids:
        if not ranges[clip_id] and feature != "frames":
            raise StoreError(
                f"{clip_id} has no {feature}; it has {', '.join(found[clip_id].ranges)}"
            )
    if ids and not any(ranges.values()):
        raise StoreError(f"no clip has {feature}; {ids[0]} has {', '.join(found[ids[0]].ranges)}")
    contents = dict(read_many(store.reader, [item for items in ranges.values() for item in items]))
    if feature == "frames":
        return {i: [bytes(contents[item]) for item in ranges[i]] for i in ids}
    if feature == "fbank":
        return {i: _array(ranges[i][0], contents[ranges[i][0]]) for i in ids}
    return {i: bytes(contents[ranges[i][0]]) for i in ids}


def stored_features(store: "OpenStore", ids: Sequence[str], recipe: str | None) -> list[str]:
    """Return which of frames, video, waveform and fbank any of the clips has."""
    rows = store.query(_LAYOUTS, {"ids": list(ids), "recipe": recipe}).rows()
    suffixes = {suffix for row in rows for suffix in row["members"].split()}
    return [
        name
        for name in BASE_FEATURES
        if name != "json" and any(suffix.endswith(_ENDINGS[name]) for suffix in suffixes)
    ]


def _of_feature(feature: str, ranges: Mapping[str, ByteRange]) -> list[ByteRange]:
    return [item for suffix, item in ranges.items() if suffix.endswith(_ENDINGS[feature])]


def _read_derived(store: "OpenStore", feature: str, ids: list[str]) -> dict[str, Any]:
    found = _find_derived(store, feature, ids)
    items = {i: next(iter(found[i].ranges.values())) for i in ids}
    contents = dict(read_many(store.reader, list(items.values())))
    for clip_id, item in items.items():
        if zlib.crc32(contents[item]) != found[clip_id].crc32:
            try:  # the reader may hold bytes of an earlier shard
                (contents[item],) = read_members(store.reader, [item], found[clip_id].crc32)
            except ReadError as error:
                raise StoreError(f"{feature} of {clip_id} in {item.shard.path}: {error}") from error
    return {i: _array(items[i], contents[items[i]]) for i in ids}


def _array(item: ByteRange, content: memoryview) -> Any:
    try:
        return load_npy(content).copy()
    except ValueError as error:
        where = f"{item.name} in {item.shard.path}"
        raise StoreError(f"{where}: {error}; run avstore verify") from error


def _find_base(store: "OpenStore", ids: list[str], recipe: str | None) -> dict[str, _Members]:
    rows = store.query(_BASE_ROWS, {"ids": ids, "recipe": recipe}).rows()
    return _one_each(store, ids, rows, "sample", "select one with recipe=")


def _find_derived(store: "OpenStore", feature: str, ids: list[str]) -> dict[str, _Members]:
    rows = store.query(_DERIVED_ROWS, {"ids": ids, "feature": feature}).rows()
    if ids and not rows:
        known = store.query("SELECT DISTINCT feature FROM feature_samples ORDER BY ALL").rows()
        names = [row["feature"] for row in known]
        if feature not in names:
            listed = ", ".join([*BASE_FEATURES, *names])
            raise StoreError(f"the store has no feature {feature!r}; it has {listed}")
    return _one_each(store, ids, rows, feature, f"select one as {feature}-<fp8>")


def _one_each(
    store: "OpenStore", ids: list[str], rows: Sequence[Mapping[str, Any]], what: str, hint: str
) -> dict[str, _Members]:
    """Return the members by clip id. Raise StoreError if a clip has none, or several versions."""
    found = {row["clip_id"]: _members(row) for row in rows}
    missing = [clip_id for clip_id in ids if clip_id not in found]
    if missing:
        sql = "SELECT stage, status, verdict FROM status WHERE clip_id = ?"
        states = store.query(sql, [missing[0]]).rows()
        where = "; ".join(f"{r['stage']}: {r['status']} {r['verdict'] or ''}" for r in states)
        raise StoreError(
            f"{len(missing)} of {len(ids)} clips have no {what}, for example {missing[0]} "
            f"({where.strip() or 'not published in this store'})"
        )
    if len(rows) != len(found):
        prints = sorted({row["fingerprint"][:8] for row in rows})
        raise StoreError(f"the store has {what} more than once ({', '.join(prints)}); {hint}")
    return found


def _members(row: Mapping[str, Any]) -> _Members:
    shard = Shard(row["shard"], row["sha256"], row["bytes"])
    ranges = member_ranges(shard, row["clip_id"], row["members"], row["offsets"], row["sizes"])
    return _Members(row["fingerprint"], ranges, row["crc32"])
