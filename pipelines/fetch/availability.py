"""The availability manifest: which published clips one lab could get, in a file to publish.

One row a published clip: dataset, clip_id, split, labels (a JSON list), status, verdict, date (UTC
day of the latest attempt), sha256 and bytes of the fetched file. Two such files tell how far two
labs' results can be compared, and how the missing clips shift the balance of classes.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from avstore.manifests.store import StoreError, committing

COLUMNS = ("dataset", "clip_id", "split", "labels", "status", "verdict", "date", "sha256", "bytes")
_REQUIRED = ("clip_id", "labels", "status")
_EXPORT = """
    SELECT c.dataset, c.clip_id, c.split, to_json(c.labels)::VARCHAR AS labels,
           coalesce(f.outcome, 'pending') AS status, f.error_class AS verdict,
           strftime(f.started_at, '%Y-%m-%d') AS date,
           coalesce(m.sha256, a.sha256) AS sha256, coalesce(m.bytes, a.bytes) AS bytes
    FROM clips c
    LEFT JOIN last_fetch f USING (clip_id)
    LEFT JOIN media m ON m.clip_id = c.clip_id
    LEFT JOIN attempts a
        ON a.clip_id = c.clip_id AND a.stage = 'fetch' AND a.started_at = f.started_at
    WHERE c.dataset = ?
    ORDER BY c.position, c.clip_id
"""


def export(con: duckdb.DuckDBPyConnection, dataset: str, target: Path) -> int:
    """Write the availability manifest of a dataset as .csv or .parquet; how many clips.

    Raises StoreError where the dataset is unknown, or the ending is.
    """
    names = [row[0] for row in con.execute("SELECT DISTINCT dataset FROM clips").fetchall()]
    if dataset not in names:
        raise StoreError(f"the store holds no dataset {dataset!r}; it holds: {', '.join(names)}")
    table: pa.Table = con.sql(_EXPORT, params=[dataset]).to_arrow_table()
    match target.suffix.lower():
        case ".parquet":
            with committing(target) as file:
                pq.write_table(table, file, compression="zstd")
        case ".csv":
            with committing(target) as file:
                pc.write_csv(table, file)
        case other:
            raise StoreError(f"{target}: {other or 'no ending'} is neither .csv nor .parquet")
    return int(table.num_rows)


@dataclass(frozen=True)
class ClassShift:
    """One class in two manifests. wanted: published clips of it. shift: share b minus share a,
    where a share is this class's part of all stored label occurrences, in percentage points."""

    label: str
    wanted: int
    stored_a: int
    stored_b: int
    shift: float


@dataclass(frozen=True)
class Comparison:
    """Two availability manifests. Counts are of clips.

    published: (in a, in b, in both). Of the clips in both: stored in both, in one alone, in
    neither. differing: stored in both with different bytes; unknown_bytes: at least one of them
    has no sha256. lost: classes stored in one and not in the other. distance: the total variation
    distance of the two class distributions, 0 (same balance) to 1. classes: largest shift first.
    """

    published: tuple[int, int, int]
    both: int
    only_a: int
    only_b: int
    neither: int
    differing: int
    unknown_bytes: int
    distance: float
    classes: tuple[ClassShift, ...]

    @property
    def lost(self) -> tuple[str, ...]:
        return tuple(c.label for c in self.classes if bool(c.stored_a) != bool(c.stored_b))


def compare(a: Path, b: Path) -> Comparison:
    """Hold two availability manifests against one another. Raises StoreError."""
    con = duckdb.connect()
    for name, path in (("a", a), ("b", b)):
        _load(con, name, path)
    counts = con.execute(
        """
        SELECT count(a.clip_id), count(b.clip_id),
               count(*) FILTER (a.clip_id IS NOT NULL AND b.clip_id IS NOT NULL),
               count(*) FILTER (in_a AND in_b), count(*) FILTER (in_a AND NOT in_b),
               count(*) FILTER (in_b AND NOT in_a), count(*) FILTER (NOT in_a AND NOT in_b),
               count(*) FILTER (in_a AND in_b AND a.sha256 <> b.sha256),
               count(*) FILTER (in_a AND in_b AND (a.sha256 IS NULL OR b.sha256 IS NULL))
        FROM (SELECT *, status = 'stored' AS in_a FROM a) a
        FULL JOIN (SELECT *, status = 'stored' AS in_b FROM b) b USING (clip_id)
        """
    ).fetchone()
    classes = tuple(ClassShift(*row) for row in con.execute(_CLASSES).fetchall())
    if counts is None:
        raise StoreError(f"{a} and {b} cannot be compared")
    return Comparison(
        published=counts[:3],
        both=counts[3],
        only_a=counts[4],
        only_b=counts[5],
        neither=counts[6],
        differing=counts[7],
        unknown_bytes=counts[8],
        distance=sum(abs(c.shift) for c in classes) / 200.0,
        classes=classes,
    )


_CLASSES = """
    WITH labelled AS (
        SELECT clip_id, unnest(from_json(labels, '["VARCHAR"]')) AS label,
               status = 'stored' AS stored, 'a' AS side FROM a
        UNION ALL
        SELECT clip_id, unnest(from_json(labels, '["VARCHAR"]')), status = 'stored', 'b' FROM b
    ),
    counted AS (
        SELECT label, count(DISTINCT clip_id) AS wanted,
               count(*) FILTER (stored AND side = 'a') AS stored_a,
               count(*) FILTER (stored AND side = 'b') AS stored_b
        FROM labelled GROUP BY label
    )
    SELECT label, wanted, stored_a, stored_b,
           100.0 * coalesce(stored_b / nullif(sum(stored_b) OVER (), 0), 0)
           - 100.0 * coalesce(stored_a / nullif(sum(stored_a) OVER (), 0), 0) AS shift
    FROM counted ORDER BY abs(shift) DESC, label
"""


def describe(found: Comparison, a: str, b: str, most: int = 10) -> list[str]:
    """The comparison in sentences, and the `most` shifted classes."""
    in_a, in_b, shared = found.published
    lines = [
        f"published clips: {in_a:,} in {a}, {in_b:,} in {b}, {shared:,} in both",
        f"stored in both {found.both:,}, only in {a} {found.only_a:,}, only in {b} "
        f"{found.only_b:,}, in neither {found.neither:,}",
        f"of those stored in both, {found.differing:,} differ in their bytes "
        f"({found.unknown_bytes:,} cannot be told: no sha256)",
        f"class balance: total variation distance {found.distance:.4f} (0 same, 1 disjoint)",
    ]
    if found.lost:
        lines.append(f"classes stored on one side alone: {', '.join(found.lost)}")
    for shift in found.classes[:most]:
        if shift.shift:
            lines.append(
                f"  {shift.shift:+8.3f} points  {shift.label}: {shift.stored_a:,} and "
                f"{shift.stored_b:,} of {shift.wanted:,}"
            )
    return lines


def _load(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    """The file as table `name`, one row a clip. Raises StoreError."""
    parquet = path.suffix.lower() == ".parquet"
    read = "read_parquet(?)" if parquet else "read_csv(?, all_varchar = true, header = true)"
    try:
        con.execute(f"CREATE TABLE loaded_{name} AS SELECT * FROM {read}", [str(path)])
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path} is no availability manifest: {reason}") from error
    columns = {row[0] for row in con.execute(f"DESCRIBE loaded_{name}").fetchall()}
    if missing := [column for column in _REQUIRED if column not in columns]:
        raise StoreError(
            f"{path} is no availability manifest: it has no column {', '.join(missing)} "
            "(avstore availability export writes one)"
        )
    sha256 = "sha256" if "sha256" in columns else "NULL"
    try:
        con.execute(
            f"CREATE TABLE {name} AS SELECT DISTINCT ON (clip_id) clip_id, labels, status, "
            f"{sha256}::VARCHAR AS sha256 FROM loaded_{name}"
        )
        con.execute(f"SELECT count(from_json(labels, '[\"VARCHAR\"]')) FROM {name}").fetchone()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{path}: the column labels has to hold JSON lists: {reason}") from error
