"""Report a task stream: sizes, missing clips and reasons, overlaps, class balance."""

import re
from dataclasses import dataclass

import duckdb

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.streams import StreamError, sql_literal

_STORED = re.compile(r"\bstored_clips\b")
_PUBLISHED = "(SELECT c.*, NULL::VARCHAR AS verdict FROM clips c)"


@dataclass(frozen=True, slots=True)
class TaskSize:
    """Sizes of one role of a task.

    Attributes:
        position: Position of the task in the stream.
        task: Name of the task.
        role: train, eval or retrieval.
        published: Number of published clips.
        stored: Number of stored clips.
        classes: Number of distinct labels of the stored clips.
        fewest: Stored clips of the rarest label.
        most: Stored clips of the most frequent label.
        why: Reasons of the clips that are not stored, with counts.
    """

    position: int
    task: str
    role: str
    published: int
    stored: int
    classes: int
    fewest: int
    most: int
    why: str

    @property
    def missing(self) -> int:
        """Number of published clips that are not stored."""
        return max(self.published - self.stored, 0)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Clips or videos that two parts of a stream share.

    Attributes:
        kind: `clips` or `videos`.
        first: One part, as task and role.
        second: The other part.
        count: Number of shared clips or videos.
    """

    kind: str
    first: str
    second: str
    count: int


@dataclass(frozen=True)
class TaskReport:
    """Sizes and overlaps of a stream.

    Attributes:
        stream: Name of the stream.
        sizes: Sizes in the order of tasks and roles.
        overlaps: Overlaps of train parts with each other, and with evaluation parts.
    """

    stream: str
    sizes: tuple[TaskSize, ...]
    overlaps: tuple[Overlap, ...]

    @property
    def problems(self) -> tuple[Overlap, ...]:
        """Overlaps that are errors: shared clips. Shared videos are only reported."""
        return tuple(overlap for overlap in self.overlaps if overlap.kind == "clips")


def registered_queries(
    con: duckdb.DuckDBPyConnection, name: str
) -> list[tuple[int, str, str, str]]:
    """Return (position, task, role, query) of every part of a registered stream.

    Raises:
        StreamError: The manifest has no such stream.
    """
    rows = con.execute(
        "SELECT position, task, role, query FROM tasks WHERE stream = ? "
        "ORDER BY position, list_position(['train', 'eval', 'retrieval'], role)",
        [name],
    ).fetchall()
    if not rows:
        known = [
            row[0] for row in con.execute("SELECT DISTINCT stream FROM tasks ORDER BY 1").fetchall()
        ]
        what = f"the store has no stream {name!r}{did_you_mean(name, known)}"
        raise StreamError(f"{what}; it has: {', '.join(known) or 'none'}")
    return rows


def of_published(query: str) -> str:
    """Return a stream's query of stored clips as one of all published clips."""
    return _STORED.sub(_PUBLISHED, query)


def report_stream(con: duckdb.DuckDBPyConnection, name: str) -> TaskReport:
    """Compute the report of a registered stream; only temporary tables are written.

    Raises:
        StreamError: The manifest has no such stream.
    """
    _materialise(con, registered_queries(con, name))
    return TaskReport(name, _sizes(con), _overlaps(con))


def _materialise(con: duckdb.DuckDBPyConnection, rows: list[tuple[int, str, str, str]]) -> None:
    """Create the temporary table `parts`: a row per clip, task and role, stored or published."""
    con.execute(
        "CREATE OR REPLACE TEMP TABLE parts "
        "(position INTEGER, task VARCHAR, role VARCHAR, stored BOOLEAN, clip_id VARCHAR)"
    )
    for position, task, role, query in rows:
        for stored in (True, False):
            chosen = query if stored else of_published(query)
            head = f"{int(position)}, {sql_literal(task)}, {sql_literal(role)}, {stored}"
            con.execute(f"INSERT INTO parts SELECT DISTINCT {head}, clip_id FROM ({chosen}\n)")


def _sizes(con: duckdb.DuckDBPyConnection) -> tuple[TaskSize, ...]:
    rows = con.execute("""
        WITH per_class AS (
            SELECT p.position, p.task, p.role, u.label, count(*) AS clips
            FROM parts p JOIN clips c USING (clip_id), unnest(c.labels) AS u(label)
            WHERE p.stored GROUP BY ALL
        ), balance AS (
            SELECT position, task, role, count(*) AS classes, min(clips) AS fewest,
                   max(clips) AS most
            FROM per_class GROUP BY ALL
        ), lost AS (
            SELECT a.position, a.task, a.role,
                   coalesce(min(s.verdict), min(q.verdict), min(s.status), 'not built') AS reason,
                   a.clip_id
            FROM parts a
            LEFT JOIN status s
              ON s.clip_id = a.clip_id AND s.stage <> 'fetch' AND s.status <> 'stored'
            LEFT JOIN quality q ON q.clip_id = a.clip_id
            WHERE NOT a.stored AND NOT EXISTS (
                SELECT 1 FROM parts b WHERE b.stored AND b.clip_id = a.clip_id
                AND b.position = a.position AND b.role = a.role)
            GROUP BY a.position, a.task, a.role, a.clip_id
        ), reasons AS (
            SELECT position, task, role,
                   string_agg(n || ' ' || reason, ', ' ORDER BY n DESC, reason) AS why
            FROM (SELECT position, task, role, reason, count(*) AS n FROM lost GROUP BY ALL)
            GROUP BY ALL
        )
        SELECT p.position, p.task, p.role, count(*) FILTER (NOT p.stored),
               count(*) FILTER (p.stored), coalesce(any_value(b.classes), 0),
               coalesce(any_value(b.fewest), 0), coalesce(any_value(b.most), 0),
               coalesce(any_value(r.why), '')
        FROM parts p LEFT JOIN balance b USING (position, task, role)
        LEFT JOIN reasons r USING (position, task, role)
        GROUP BY p.position, p.task, p.role
        ORDER BY p.position, list_position(['train', 'eval', 'retrieval'], p.role)
    """).fetchall()
    return tuple(TaskSize(*row) for row in rows)


def _overlaps(con: duckdb.DuckDBPyConnection) -> tuple[Overlap, ...]:
    """Return overlaps between train parts of two tasks, and between train and other roles.

    Published clips are compared, so that an overlap is found before anything is stored.
    """
    rows = con.execute("""
        WITH p AS (
            SELECT DISTINCT p.position, p.task, p.role, p.clip_id, c.source_id
            FROM parts p JOIN clips c USING (clip_id)
        )
        SELECT kind, a_name, b_name, count(DISTINCT shared) FROM (
            SELECT 'clips' AS kind, a.task || ' ' || a.role AS a_name,
                   b.task || ' ' || b.role AS b_name, a.clip_id AS shared
            FROM p a JOIN p b ON a.clip_id = b.clip_id
            WHERE a.role = 'train' AND (b.role <> 'train' OR a.position < b.position)
            UNION ALL
            SELECT 'videos', 'train of all tasks', b.role || ' of all tasks', a.source_id
            FROM p a JOIN p b ON a.source_id = b.source_id AND a.clip_id <> b.clip_id
            WHERE a.role = 'train' AND b.role <> 'train'
        ) GROUP BY ALL ORDER BY ALL
    """).fetchall()
    return tuple(Overlap(*row) for row in rows)
