"""What a run's last scores say of single clips: the files clips.parquet and events.parquet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from avstore.manifests.store import committing

CLIPS = "clips.parquet"
EVENTS = "events.parquet"
CLIP_COLUMNS = pa.schema(
    [("clip_id", pa.string()), ("metric", pa.string()), ("value", pa.float64())]
)
EVENT_COLUMNS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("modality", pa.string()),
        ("label_id", pa.int32()),
        ("onset_s", pa.float32()),
        ("offset_s", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Event:
    """A class that was found in some seconds of a clip.

    Attributes:
        clip_id: The clip.
        modality: Where it was found: "audio", "visual" or "both".
        label_id: The class.
        onset_s: Where it begins, in seconds.
        offset_s: Where it ends.
    """

    clip_id: str
    modality: str
    label_id: int
    onset_s: float
    offset_s: float


@dataclass(frozen=True)
class ClipScores:
    """Scores of single clips.

    Attributes:
        metric: What is scored, for people, in percent; more is better.
        values: The score of each clip.
        events: What was found in the clips.
    """

    metric: str
    values: Mapping[str, float]
    events: Sequence[Event] = ()


def write_clip_scores(folder: Path, scores: ClipScores) -> None:
    """Write the scores, and the events if there are any, into a run's folder."""
    rows = [
        {"clip_id": clip_id, "metric": scores.metric, "value": value}
        for clip_id, value in scores.values.items()
    ]
    _write(folder / CLIPS, rows, CLIP_COLUMNS)
    if scores.events:
        _write(folder / EVENTS, [vars(event) for event in scores.events], EVENT_COLUMNS)
    else:
        (folder / EVENTS).unlink(missing_ok=True)  # those of an earlier task


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    with committing(path) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)


def events_of(clip_id: str, active: Tensor, modalities: Sequence[str]) -> Iterator[Event]:
    """Yield the events of a clip: seconds that follow each other are one.

    Args:
        clip_id: The clip.
        active: Whether each class is in each second, bool [seconds, M, C].
        modalities: Their names, M.
    """
    for number, modality in enumerate(modalities):
        own = active[:, number].T
        for label_id in own.any(1).nonzero().flatten().tolist():
            start: int | None = None
            for second, present in enumerate([*own[label_id].tolist(), False]):
                if present and start is None:
                    start = second
                elif not present and start is not None:
                    yield Event(clip_id, modality, label_id, float(start), float(second))
                    start = None


def overlap(found: Tensor, truth: Tensor) -> float:
    """Return the share of what is found or true that is both, in percent.

    Args:
        found: Bool, any shape.
        truth: Bool of the same shape; with `found` not all False.
    """
    return 100 * float((found & truth).sum() / (found | truth).sum().clamp_min(1))
