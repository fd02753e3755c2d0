"""The account of a build in words."""

import duckdb
from rich.console import Console

from avstore.datasets.spec import DatasetSpec
from avstore.manifests.account import Account, reasons
from avstore.manifests.store import Store
from avstore.pipelines.build.driver import BuildResult

_WHY = {
    "rejected": "not usable",
    "gone": "not to be had",
    "retryable": "will be tried again",
    "stored": "stored, to know of",
}


def say(
    con: duckdb.DuckDBPyConnection,
    store: Store,
    spec: DatasetSpec,
    built: BuildResult,
    out: Console,
) -> None:
    """MediaRequest, stored, rejected and why, and where the shards are."""
    account = next(a for a in built.accounts if a.stage == built.stage)
    out.print(f"\n[bold]{spec.title}[/bold], {spec.version}: {sentence(account)}")
    for status, verdict, clips in reasons(con, spec.name, built.stage):
        out.print(f"  {clips:>7} {verdict:<16} {_WHY.get(status, status)}")
    if built.bad_rows:
        out.print(f"{built.bad_rows} annotation rows could not be used:")
        for file, row, reason in con.execute(
            "SELECT file, row, reason FROM annotation_errors WHERE dataset = ? "
            "ORDER BY file, row LIMIT 5",
            [spec.name],
        ).fetchall():
            out.print(f"  {file} row {row}: {reason}")
        if built.bad_rows > 5:
            out.print("  … all of them: SELECT * FROM annotation_errors")
    if built.unmatched_files:
        more = len(built.unmatched_files) - 1
        told = (
            f"{more + 1} media files in the source carry"
            if more
            else ("1 media file in the source carries")
        )
        example = f"{', such as' if more else ':'} {built.unmatched_files[0]}"
        out.print(f"{told} no clip's name{example}", markup=False)
    if orphans := _orphans(con, spec.name):
        out.print(f"{orphans} stored clips are no longer in the annotations; no query returns them")
    where, size, count = _shards(con, spec.name, built.stage)
    out.print(f"{count} shards ({size / 1e6:.1f} MB) in {store.root / where}")
    out.print(f"manifest {store.manifest}")


def sentence(a: Account) -> str:
    """One stage's account, with only the parts that are not empty."""
    parts = [(a.stored, "stored"), (a.rejected, "rejected"), (a.gone, "gone")]
    parts += [(a.retryable, "to be tried again"), (a.pending, "pending")]
    named = ", ".join(f"{count} {word}" for count, word in parts if count)
    return f"{a.wanted} wanted = {named or 'nothing yet'}"


def _orphans(con: duckdb.DuckDBPyConnection, dataset: str) -> int:
    row = con.execute(
        "SELECT count(*) FROM samples s JOIN shards h ON h.path = s.shard "
        "WHERE h.dataset = ? AND s.clip_id NOT IN (SELECT clip_id FROM clips)",
        [dataset],
    ).fetchone()
    return int(row[0]) if row else 0


def _shards(con: duckdb.DuckDBPyConnection, dataset: str, stage: str) -> tuple[str, int, int]:
    folder = f"shards/{dataset}/{stage}"
    row = con.execute(
        "SELECT coalesce(sum(bytes), 0), count(*) FROM shards WHERE starts_with(path, ? || '/')",
        [folder],
    ).fetchone() or (0, 0)
    return folder, int(row[0]), int(row[1])
