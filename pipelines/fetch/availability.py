"""Write and compare availability manifests: which published clips a lab could fetch.

An availability manifest has one row per published clip: dataset, clip_id, split, labels (a JSON
list), status, verdict, date (UTC day of the latest attempt), sha256 and bytes of the fetched file.
Comparing two of them shows how comparable two labs' results are, and how missing clips shift the
class balance.
"""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pc

from avstore.manifests.account import require_dataset
from avstore.manifests.sealed import write_parquet
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
        ON a.clip_id = c.clip_id AND a.stage = 'fetch' AND a.seq = f.seq
    WHERE c.dataset = ?
    ORDER BY c.position, c.clip_id
"""


def export_availability(con: duckdb.DuckDBPyConnection, dataset: str, target: Path) -> int:
    """Write the availability manifest of a dataset.

    Args:
        con: The manifest.
        dataset: The dataset's name.
        target: The file to write, ending in .csv or .parquet.

    Returns:
        The number of clips.

    Raises:
        StoreError: The dataset or the file's ending is unknown.
    """
    require_dataset(con, dataset)
    table: pa.Table = con.sql(_EXPORT, params=[dataset]).to_arrow_table()
    match target.suffix.lower():
        case ".parquet":
            write_parquet(target, table)
        case ".csv":
            with committing(target) as file:
                pc.write_csv(table, file)
        case other:
            raise StoreError(
                f"{target}: the ending {other!r} is neither .csv nor .parquet; rename the file"
            )
    return int(table.num_rows)


@dataclass(frozen=True)
class ClassShift:
    """One class in two availability manifests.

    Attributes:
        label: The class.
        published: Published clips of the class.
        stored_a: Its clips that a has.
        stored_b: Its clips that b has.
        shift: The class's share of b's label occurrences minus that of a's, in percentage points.
    """

    label: str
    published: int
    stored_a: int
    stored_b: int
    shift: float


@dataclass(frozen=True)
class AvailabilityComparison:
    """Two availability manifests compared. Counts are of clips.

    Attributes:
        published: Clips listed (in a, in b, in both).
        both: Clips stored in both.
        only_a: Clips of both lists that only a has.
        only_b: Clips of both lists that only b has.
        neither: Clips of both lists that neither has.
        differing: Clips stored in both whose sha256 differs.
        unknown_bytes: Clips stored in both of which at least one has no sha256.
        distance: Total variation distance of the class distributions, 0 (equal) to 1 (disjoint).
        classes: The classes, largest absolute shift first.
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
    def one_sided(self) -> tuple[str, ...]:
        """The classes of which only one of the two has clips."""
        return tuple(c.label for c in self.classes if bool(c.stored_a) != bool(c.stored_b))


def compare_availability(a: Path, b: Path) -> AvailabilityComparison:
    """Compare two availability manifests.

    Raises:
        StoreError: One of the files is missing or is no availability manifest.
    """
    con = duckdb.connect()
    for name, path in (("a", a), ("b", b)):
        _load(con, name, path)
    (row,) = con.execute(
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
    ).fetchall()
    in_a, in_b, shared, both, only_a, only_b, neither, differing, unknown_bytes = row
    classes = tuple(ClassShift(*row) for row in con.execute(_CLASSES).fetchall())
    return AvailabilityComparison(
        published=(in_a, in_b, shared),
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=neither,
        differing=differing,
        unknown_bytes=unknown_bytes,
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
        SELECT label, count(DISTINCT clip_id) AS published,
               count(*) FILTER (stored AND side = 'a') AS stored_a,
               count(*) FILTER (stored AND side = 'b') AS stored_b
        FROM labelled GROUP BY label
    )
    SELECT label, published, stored_a, stored_b,
           100.0 * coalesce(stored_b / nullif(sum(stored_b) OVER (), 0), 0)
           - 100.0 * coalesce(stored_a / nullif(sum(stored_a) OVER (), 0), 0) AS shift
    FROM counted ORDER BY abs(shift) DESC, label
"""


def describe_comparison(
    found: AvailabilityComparison, a: str, b: str, max_classes: int = 10
) -> list[str]:
    """Return the comparison as lines of text.

    Args:
        found: The comparison.
        a: The first manifest's name.
        b: The second manifest's name.
        max_classes: How many of the most shifted classes to list.
    """
    in_a, in_b, shared = found.published
    lines = [
        f"published clips: {in_a:,} in {a}, {in_b:,} in {b}, {shared:,} in both",
        f"stored in both {found.both:,}, only in {a} {found.only_a:,}, only in {b} "
        f"{found.only_b:,}, in neither {found.neither:,}",
        f"of those stored in both, {found.differing:,} differ in their bytes "
        f"({found.unknown_bytes:,} cannot be compared: no sha256)",
        f"class balance: total variation distance {found.distance:.4f} (0 equal, 1 disjoint)",
    ]
    if found.one_sided:
        lines.append(f"classes stored in only one of the two: {', '.join(found.one_sided)}")
    for shift in found.classes[:max_classes]:
        if shift.shift:
            lines.append(
                f"  {shift.shift:+8.3f} points  {shift.label}: {shift.stored_a:,} and "
                f"{shift.stored_b:,} of {shift.published:,}"
            )
    return lines


def _load(con: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    """Load an availability manifest as table `name`, one row per clip."""
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
            "(write one with: avstore availability export)"
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
        raise StoreError(f"{path}: the column labels must hold JSON lists: {reason}") from error
