"""Write a shard: one tar with the clips' members, then one sidecar with a row per clip."""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import metadata
from typing import Any

import pyarrow as pa

from avstore.manifests import sidecar
from avstore.manifests.ledger import now
from avstore.manifests.names import check_name, shard_file, sidecar_file
from avstore.manifests.partials import JournalEntry
from avstore.manifests.path_text import path_text
from avstore.manifests.sidecar import write_sidecar
from avstore.manifests.store import Store, committing, sidecar_of
from avstore.manifests.video_record import StoredVideo
from avstore.pipelines.build.partial_tar import open_partial
from avstore.pipelines.build.shard_tar import ShardTar
from avstore.pipelines.extract.records import ExtractionResult

_TIMES = tuple(field.name for field in sidecar.SCHEMA if pa.types.is_timestamp(field.type))
# A shard is not continued with other versions of the libraries that decide its bytes.
_LIBRARIES = ("av", "numpy", "simplejpeg", "soxr")

ClipRecorder = Callable[[Mapping[str, Any], Mapping[str, Any]], None]


@dataclass(frozen=True)
class ShardId:
    """The facts that a shard's clips share.

    Attributes:
        path: Path of the tar, relative to the store.
        dataset: Dataset of the clips.
        recipe: Name of the recipe.
        fingerprint: Fingerprint of the recipe, 64 hexadecimal digits.
        split: Split of the clips.
        seq: Number of this extraction (manifests/sequence.py).
    """

    path: str
    dataset: str
    recipe: str
    fingerprint: str
    split: str
    seq: int


@dataclass(frozen=True)
class ShardResult:
    """A committed shard.

    Attributes:
        path: Path of the tar, relative to the store.
        sidecar: Path of the sidecar, relative to the store.
        stored: Number of clips in the tar.
        rejected: Number of clips that are only in the sidecar, each with its verdict.
    """

    path: str
    sidecar: str
    stored: int
    rejected: int


@contextmanager
def open_shard(store: Store, shard: ShardId) -> "Iterator[ShardWriter]":
    """Open a shard for writing; on exit commit its tar, then its sidecar.

    A shard without a usable clip gets a sidecar and no tar. After an exception neither is left.
    """
    with committing(shard_file(store, shard.path), keep=lambda: writer.stored > 0) as file:
        writer = ShardWriter(shard, ShardTar(file))
        yield writer
        writer.close()
    write_sidecar(sidecar_file(store, shard.path), writer.rows)


@contextmanager
def continue_shard(
    store: Store, shard: ShardId, keep: Callable[[int, JournalEntry], dict[str, Any] | None]
) -> "Iterator[ShardWriter]":
    """Open a shard as `open_shard` does, with the clips that interrupted builds finished.

    After an exception, the finished clips are kept for the next call.

    Args:
        store: The store's paths.
        shard: The shard.
        keep: As for `PartialTar.take_over`.
    """
    facts = asdict(shard) | {name: metadata.version(name) for name in _LIBRARIES}
    del facts["seq"]
    with open_partial(shard_file(store, shard.path), facts) as partial:
        writer = ShardWriter(shard, partial.tar, partial.record)
        writer.take_over(partial.take_over(keep))
        yield writer
        writer.close()
        partial.commit(keep=writer.stored > 0)
        write_sidecar(sidecar_file(store, shard.path), writer.rows)


class ShardWriter:
    """The shard that `open_shard` or `continue_shard` opened.

    Attributes:
        rows: Sidecar rows of the clips added so far.
        stored: Number of clips in the tar so far.
    """

    def __init__(self, shard: ShardId, tar: ShardTar, record: ClipRecorder | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.stored = 0
        self._shard = shard
        self._tar = tar
        self._record = record

    @property
    def result(self) -> ShardResult:
        """The shard and its counts."""
        path = self._shard.path
        return ShardResult(path, sidecar_of(path), self.stored, len(self.rows) - self.stored)

    def take_over(self, rows: list[dict[str, Any]]) -> None:
        """Begin with the rows of clips whose members the tar has already."""
        for row in rows:
            times = {name: row[name] for name in _TIMES if isinstance(row.get(name), str)}
            times = {name: datetime.fromisoformat(text) for name, text in times.items()}
            self.stored += bool(row["stored"])
            self.rows.append(row | times | {"quality_seq": self._shard.seq})

    def add(
        self,
        extracted: ExtractionResult,
        *,
        key: str,
        facts: Mapping[str, Any],
        media: Mapping[str, Any],
        path: str | None = None,
        fetched_at: datetime | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a clip: its members to the tar if it has any, its row to the sidecar.

        Args:
            extracted: The clip's members and signals, or why it is rejected.
            key: Key of the clip, the stem of its member names.
            facts: Further entries of the json member: source_id, start_s, end_s.
            media: Facts of the media file, keyed as the manifest table `media`.
            path: The media file that the clip was extracted from.
            fetched_at: When the media file was fetched, UTC.
            source: What the clip was made from; its journal entry has it.
        """
        check_name("key", key)
        row = {
            **self._columns(),
            "clip_id": extracted.clip_id,
            "stored": bool(extracted.members),
            "verdict": extracted.verdict,
            "detail": extracted.detail or None,
            "extracted_at": now(),
            "quality_seq": self._shard.seq,
        }
        origin = {"path": path and path_text(path), "fetched_at": fetched_at, **media}
        row |= {f"media_{name}": value for name, value in origin.items()}
        row |= {f"quality_{name}": value for name, value in asdict(extracted.quality).items()}
        if extracted.members:
            row |= self._append(extracted, key, self._json_member(extracted, key, facts, media))
        self.rows.append(row)
        if self._record is not None:
            self._record(row, source or {})

    def close(self) -> None:
        """End the tar and give every row its size and checksum."""
        self._tar.close()
        if self.stored:
            for row in self.rows:
                row["shard_clips"] = self.stored
                row["shard_bytes"] = self._tar.bytes
                row["shard_sha256"] = self._tar.sha256

    def _columns(self) -> dict[str, Any]:
        shard = asdict(self._shard)
        return {"shard": shard.pop("path"), **shard}

    def _json_member(
        self,
        extracted: ExtractionResult,
        key: str,
        facts: Mapping[str, Any],
        media: Mapping[str, Any],
    ) -> bytes:
        """Return ids, timing and source facts as JSON.

        No labels (they are in the manifest), and nothing that differs between two builds of the
        same clip, such as a time or a path.
        """
        member = {
            **facts,
            "key": key,
            "clip_id": extracted.clip_id,
            "dataset": self._shard.dataset,
            "recipe": self._shard.recipe,
            "fingerprint": self._shard.fingerprint,
            "duration_s": extracted.duration_s,
            "frame_times": [round(time, 6) for time in extracted.frame_times],
            "fbank_frames": extracted.fbank_frames,
            "verdict": extracted.verdict,
            "media": dict(media),
        }
        if extracted.video:
            member["video"] = asdict(extracted.video)
        return json.dumps(member, sort_keys=True).encode()

    def _append(self, extracted: ExtractionResult, key: str, json_member: bytes) -> dict[str, Any]:
        """Append the members, json first; return the sidecar columns that locate them."""
        members = (("json", json_member), *extracted.members)
        offsets, crc = [], 0
        for suffix, content in members:
            offsets.append(self._tar.add(f"{key}.{suffix}", content))
            crc = zlib.crc32(content, crc)
        position = self.stored
        self.stored += 1
        return {
            "position": position,
            "members": " ".join(suffix for suffix, _ in members),
            "offsets": offsets,
            "sizes": [len(content) for _, content in members],
            "frame_count": len(extracted.frame_times),
            "frame_times": list(extracted.frame_times),
            "fbank_frames": extracted.fbank_frames,
            "duration_s": extracted.duration_s,
            "crc32": crc,
            **_video_columns(extracted.video),
        }


def _video_columns(video: StoredVideo | None) -> dict[str, Any]:
    """Return the sidecar columns of the member `mp4`; none for clips without it."""
    if video is None:
        return {}
    return {
        "video_frames": video.frames,
        "video_rate": video.rate,
        "gop_frames": video.gop_frames,
        "gop_offsets": list(video.gop_offsets),
        "gop_crc32": list(video.gop_crc32),
        "video_codec": video.codec,
    }
