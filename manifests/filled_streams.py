"""Count the stored clips of task streams, to choose one that can be trained."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import duckdb

from avstore.manifests.streams import sql_literal

_COUNTS = """
SELECT t.stream, t.position, any_value(t.task) AS task, t.role,
       count(DISTINCT s.clip_id) AS clips
FROM (SELECT DISTINCT stream, position, task, role FROM tasks) t
LEFT JOIN task_clips c USING (stream, position, role)
LEFT JOIN trainable s ON s.clip_id = c.clip_id
GROUP BY ALL ORDER BY t.stream, t.position, t.role
"""
_SPLITS = """
SELECT dataset, count(DISTINCT clip_id) FILTER (split = 'train') AS train,
       count(DISTINCT clip_id) FILTER (split <> 'train') AS others
FROM trainable GROUP BY dataset ORDER BY dataset
"""
_ONE_TASK = {
    "train": "SELECT clip_id FROM stored_clips WHERE dataset = {dataset} AND split = 'train'",
    "eval": """SELECT clip_id FROM stored_clips
WHERE dataset = {dataset} AND (split <> 'train' OR NOT EXISTS (
  SELECT 1 FROM stored_clips WHERE dataset = {dataset} AND split <> 'train'))""",
}
_OF_DATASET = """
SELECT stream FROM task_clips JOIN clips USING (clip_id)
GROUP BY stream HAVING bool_and(dataset = ?) ORDER BY stream
"""


@dataclass
class StreamCount:
    """The stored clips of a stream.

    Attributes:
        name: The stream's name.
        tasks: Names of its tasks, by position.
        clips: Stored clips by position and role.
    """

    name: str
    tasks: dict[int, str] = field(default_factory=dict)
    clips: dict[int, dict[str, int]] = field(default_factory=dict)

    @property
    def empty(self) -> list[str]:
        """Names of the tasks that have no stored clips to train or to evaluate on."""
        return [name for place, name in self.tasks.items() if not _usable(self.clips[place])]


def count_streams(con: duckdb.DuckDBPyConnection) -> dict[str, StreamCount]:
    """Return the registered streams by name, with their stored clips."""
    found: dict[str, StreamCount] = {}
    for stream, position, task, role, clips in con.execute(_COUNTS).fetchall():
        each = found.setdefault(stream, StreamCount(stream))
        each.tasks[position] = task
        each.clips.setdefault(position, {})[role] = clips
    return found


def count_splits(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[int, int]]:
    """Return (training clips, other clips) of every dataset that has stored clips."""
    return {row[0]: (row[1], row[2]) for row in con.execute(_SPLITS).fetchall()}


def one_task_queries(dataset: str) -> dict[str, str]:
    """Return the queries by role of the stream that is all of a dataset in one task.

    It trains on the split `train` and is evaluated on all others, or on `train` if there is none.
    """
    return {role: sql.format(dataset=sql_literal(dataset)) for role, sql in _ONE_TASK.items()}


def trainable_stream(
    con: duckdb.DuckDBPyConnection, preferred: Iterable[str], dataset: str
) -> str | None:
    """Return what training takes as its stream: a filled one, else the dataset in one task.

    Args:
        con: The manifest.
        preferred: Streams of the dataset, the best first.
        dataset: The dataset.

    Returns:
        A stream's or the dataset's name; None if the dataset has no stored training clip.
    """
    counts = count_streams(con)
    others: list[str] = [row[0] for row in con.execute(_OF_DATASET, [dataset]).fetchall()]
    for name in (*preferred, *others):
        if name in counts and not counts[name].empty:
            return name
    return dataset if count_splits(con).get(dataset, (0, 0))[0] else None


def _usable(roles: dict[str, int]) -> bool:
    return bool(roles.get("train")) and bool(roles.get("retrieval") or roles.get("eval"))
