"""What the manifest has of one clip."""

from dataclasses import asdict, dataclass
from typing import Any

from avstore.manifests.store import StoreError
from avstore.pipelines.browse.facts import MEASURES
from avstore.pipelines.browse.session import Snapshot
from avstore.pipelines.browse.training import RunLibrary

Row = dict[str, Any]
_MOST_ATTEMPTS = 200


@dataclass(frozen=True)
class ClipFacts:
    """A published clip.

    Attributes:
        clip: Its row of `clips`.
        stages: Its status by recipe, with the measured quality.
        media: The fetched file; None if there is none.
        attempts: Attempts to fetch it, latest first.
        tasks: Stream, task and role of the tasks that contain it.
        features: Derived features that it has.
        segments: Labelled seconds, by modality and class.
        label_sets: Labels by further label sets.
    """

    clip: Row
    stages: list[Row]
    media: Row | None
    attempts: list[Row]
    tasks: list[Row]
    features: list[Row]
    segments: list[Row]
    label_sets: list[Row]


def clip_facts(snapshot: Snapshot, clip_id: str) -> ClipFacts:
    """Return what the manifest has of a clip. Raise StoreError if there is no such clip."""
    found = {name: snapshot.query(sql, [clip_id]).rows() for name, sql in _QUERIES.items()}
    if not found["clip"]:
        raise StoreError(f"there is no clip {clip_id!r}")
    return ClipFacts(
        clip=found["clip"][0],
        media=next(iter(found["media"]), None),
        **{name: found[name] for name in _LISTS},
    )


def found_events(snapshot: Snapshot, clip_id: str, runs: RunLibrary | None) -> list[Row]:
    """Return what training runs found in a clip: run, modality, label, onset_s and offset_s."""
    found = runs.events(clip_id) if runs else ()
    if not found:
        return []
    rows = snapshot.query(
        "SELECT label_id, label FROM labels WHERE dataset = ?", [clip_id.partition("/")[0]]
    ).rows()
    names = {row["label_id"]: row["label"] for row in rows}
    return [
        asdict(event) | {"label": names.get(event.label_id, f"class {event.label_id}")}
        for event in found
    ]


def measured(row: Row) -> list[tuple[str, str, float]]:
    """Return title, unit and value of what was measured of a clip by a recipe."""
    return [
        (title, unit, row[name])
        for name, (title, unit) in MEASURES.items()
        if row.get(name) is not None
    ]


_LISTS = ("stages", "attempts", "tasks", "features", "segments", "label_sets")
_QUERIES = {
    "clip": "SELECT * FROM clips WHERE clip_id = ?",
    "stages": (
        "SELECT t.stage, t.status, t.verdict, t.updated_at, g.recipe, s.shard, s.duration_s, "
        "q.* EXCLUDE (clip_id, verdict) FROM status t JOIN clips c USING (clip_id) "
        "LEFT JOIN stages g ON g.stage = t.stage AND g.dataset = c.dataset "
        "LEFT JOIN quality q ON q.clip_id = t.clip_id AND q.fingerprint = g.fingerprint "
        "LEFT JOIN samples s ON s.clip_id = t.clip_id AND s.fingerprint = g.fingerprint "
        "WHERE t.clip_id = ? ORDER BY t.stage = 'fetch' DESC, t.stage"
    ),
    "media": "SELECT * EXCLUDE (clip_id) FROM media WHERE clip_id = ?",
    "attempts": (
        "SELECT * EXCLUDE (clip_id) FROM attempts WHERE clip_id = ? "
        f"ORDER BY seq DESC LIMIT {int(_MOST_ATTEMPTS)}"
    ),
    "tasks": (
        "SELECT stream, position, task, role FROM task_clips WHERE clip_id = ? "
        "ORDER BY stream, position, role"
    ),
    "features": (
        "SELECT feature, feature || '-' || left(fingerprint, 8) AS version, shape, dtype, size "
        "FROM feature_samples WHERE clip_id = ? ORDER BY feature, fingerprint"
    ),
    "segments": (
        "SELECT modality, label, onset_s, offset_s FROM segments WHERE clip_id = ? "
        "ORDER BY modality, label, onset_s"
    ),
    "label_sets": (
        "SELECT label_set, modality, list(label ORDER BY label_id) AS labels FROM clip_labels "
        "WHERE clip_id = ? GROUP BY label_set, modality ORDER BY ALL"
    ),
}
