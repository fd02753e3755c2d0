"""Print the summary of a build: every published clip is counted exactly once."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from avstore.datasets.spec import DatasetSpec
from avstore.manifests import commands
from avstore.manifests.account import Account, reasons
from avstore.manifests.store import Store
from avstore.manifests.streams import sql_literal
from avstore.manifests.terminal import plural

if TYPE_CHECKING:
    import duckdb

    from avstore.pipelines.build.driver import BuildResult

_STATUS_TEXT = {
    "rejected": "not usable",
    "gone": "unavailable",
    "absent": "another source may have it",
    "retryable": "will be tried again",
    "stored": "stored, flagged",
}


def print_summary(
    con: "duckdb.DuckDBPyConnection",
    store: Store,
    spec: DatasetSpec,
    built: "BuildResult",
    out: Console,
    match: str | None = None,
) -> None:
    """Print the clips stored and not stored with reasons, unusable rows and files, and shards.

    Args:
        con: The manifest.
        store: The store.
        spec: The dataset.
        built: The result of the build.
        out: Where to print.
        match: The command that shows why files match no clip.
    """
    account = next(a for a in built.accounts if a.stage == built.stage)
    counts = f", {spec.version}: {counts_text(account)}"
    out.print(Text.assemble("\n", (spec.title, "bold"), counts))
    for status, reason, clips in reasons(con, spec.name, built.stage):
        out.print(f"  {clips:>7} {reason:<16} {_STATUS_TEXT.get(status, status)}")
    if built.bad_rows:
        out.print(f"{plural(built.bad_rows, 'annotation row')} could not be used:")
        for file, row, reason, text in con.execute(
            "SELECT file, row, reason, text FROM annotation_errors WHERE dataset = ? "
            "ORDER BY file, row LIMIT 5",
            [spec.name],
        ).fetchall():
            of_folder = text and Path(file).is_dir()  # whose rows are its files
            out.print(f"  {text if of_folder else f'{file} row {row}'}: {reason}")
        if built.bad_rows > 5:
            rows = f"FROM annotation_errors WHERE dataset = {sql_literal(spec.name)}"
            out.print(f"To see all, run\n  {commands.avstore('sql', rows, store=store.root)}")
    if unmatched := built.unmatched_files:
        count = len(unmatched)
        subject = "1 media file in the source matches"
        if count > 1:
            subject = f"{count} media files in the source match"
        example = f"{':' if count == 1 else ', such as'} {unmatched[0]}"
        out.print(f"{subject} no clip's name{example}")
        if match:
            out.print(f"To see why, run\n  {match}")
    if orphans := _orphans(con, spec.name):
        verb = "is" if orphans == 1 else "are"
        out.print(
            f"{plural(orphans, 'stored clip')} {verb} no longer in the annotations; no query "
            f"returns {'it' if orphans == 1 else 'them'}"
        )
    if spec.own_data is not None and (cut := _shortened(con, spec.name, built.stage)):
        verb = "is" if cut == 1 else "are"
        out.print(
            f"{plural(cut, 'clip')} {verb} longer than the recipe takes: the "
            "rest is not stored (--cut SECONDS cuts whole videos into clips)"
        )
    folder, size, count = _shards(con, spec.name, built.stage)
    out.print(f"{plural(count, 'shard')} ({size / 1e6:.1f} MB) in {store.root / folder}")
    out.print(f"manifest {store.manifest}")


def counts_text(account: Account) -> str:
    """Return a stage's counts as text, without the counts that are zero."""
    counts = [
        (account.stored, "stored"),
        (account.rejected, "rejected"),
        (account.gone, "gone"),
        (account.absent, "absent"),
        (account.retryable, "to be tried again"),
        (account.pending, "pending"),
    ]
    parts = ", ".join(f"{count} {word}" for count, word in counts if count)
    return f"{account.wanted} wanted = {parts or 'nothing yet'}"


def _orphans(con: "duckdb.DuckDBPyConnection", dataset: str) -> int:
    """Count stored clips that the annotations no longer name."""
    row = con.execute(
        "SELECT count(*) FROM samples s JOIN shards h ON h.path = s.shard "
        "WHERE h.dataset = ? AND s.clip_id NOT IN (SELECT clip_id FROM clips)",
        [dataset],
    ).fetchone()
    return int(row[0]) if row else 0


def _shortened(con: "duckdb.DuckDBPyConnection", dataset: str, stage: str) -> int:
    """Count the clips of which only the first seconds are stored."""
    row = con.execute(
        "SELECT count(*) FROM samples s JOIN shards h ON h.path = s.shard "
        "JOIN clips c ON c.clip_id = s.clip_id JOIN media m ON m.clip_id = s.clip_id "
        "WHERE starts_with(h.path, ? || '/') AND "
        "least(coalesce(c.end_s, m.duration_s), m.duration_s) - coalesce(c.start_s, 0) "
        "> s.duration_s + 1",
        [f"shards/{dataset}/{stage}"],
    ).fetchone()
    return int(row[0]) if row else 0


def _shards(con: "duckdb.DuckDBPyConnection", dataset: str, stage: str) -> tuple[str, int, int]:
    """Return the folder of a stage's shards, their bytes and their number."""
    folder = f"shards/{dataset}/{stage}"
    row = con.execute(
        "SELECT coalesce(sum(bytes), 0), count(*) FROM shards WHERE starts_with(path, ? || '/')",
        [folder],
    ).fetchone() or (0, 0)
    return folder, int(row[0]), int(row[1])
