"""Write STORE/reports/<dataset>.html: summary, reasons, coverage per class and sample clips."""

import base64
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from avstore.manifests.account import accounts, reasons
from avstore.manifests.members import member_ranges, read_members
from avstore.manifests.names import check_name
from avstore.manifests.path_text import printable_text
from avstore.manifests.sealed import html_bytes
from avstore.manifests.shard_reader import Reader, ReadError, Shard, open_reader
from avstore.manifests.store import Store, committing, refuse_links

_SAMPLES = 24  # clips shown


def write_report(con: duckdb.DuckDBPyConnection, store: Store, dataset: str, stage: str) -> Path:
    """Write the report page of a dataset and return its path.

    Args:
        con: The manifest.
        store: The store; the page is written to its folder reports.
        dataset: The dataset.
        stage: Extraction stage, `<recipe>-<fp8>`.
    """
    environment = Environment(
        loader=PackageLoader("avstore.pipelines.report"),
        autoescape=select_autoescape(["html"]),
        finalize=_printable,
    )
    page = environment.get_template("report.html").render(
        dataset=dataset,
        stage=stage,
        facts=_one(con, "SELECT * FROM datasets WHERE name = ?", [dataset]),
        accounts=accounts(con, dataset),
        reasons=reasons(con, dataset, stage),
        failures=_many(
            con,
            "SELECT clip_id, status, verdict, detail FROM failures "
            "WHERE stage = ? AND dataset = ? LIMIT 200",
            [stage, dataset],
        ),
        coverage=_many(
            con,
            "SELECT label, sum(wanted) AS wanted, sum(stored) AS stored FROM coverage "
            "WHERE dataset = ? AND stage = ? AND label IS NOT NULL "
            "GROUP BY label ORDER BY sum(stored), label",
            [dataset, stage],
        ),
        samples=_samples(con, store, dataset, stage),
    )
    refuse_links(store)
    path = store.reports / f"{check_name('dataset', dataset)}.html"
    with committing(path) as file:
        file.write(html_bytes(page))
    return path


def _printable(value: Any) -> Any:
    """Return a value of the page with control and bidirectional characters escaped."""
    if isinstance(value, Markup):  # escaped already
        return Markup(printable_text(str(value)))
    return printable_text(value) if isinstance(value, str) else value


def _many(con: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> list[dict[str, Any]]:
    cursor = con.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _one(con: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> dict[str, Any]:
    return next(iter(_many(con, query, values)), {})


def _samples(
    con: duckdb.DuckDBPyConnection, store: Store, dataset: str, stage: str
) -> list[dict[str, Any]]:
    """Return rows of sample clips, each with its middle frame."""
    rows = _many(
        con,
        "SELECT t.clip_id, t.labels, t.shard, t.members, t.offsets, t.sizes, t.verdict "
        "FROM trainable t JOIN stages g ON g.fingerprint = t.fingerprint AND g.dataset = t.dataset "
        "WHERE t.dataset = ? AND g.stage = ? AND t.frame_count > 0 "
        "ORDER BY hash(t.clip_id) LIMIT ?",
        [dataset, stage, _SAMPLES],
    )
    reader = open_reader(str(store.root))
    return [row | {"jpeg": jpeg} for row in rows if (jpeg := _middle_frame(reader, row))]


def _middle_frame(reader: Reader, row: dict[str, Any]) -> str | None:
    """Return a frame in base64, or None if it cannot be read (`verify` reports why)."""
    shard = Shard(row["shard"], "", 0)
    ranges = member_ranges(shard, row["clip_id"], row["members"], row["offsets"], row["sizes"])
    frames = [item for name, item in ranges.items() if name.endswith(".jpg")]
    try:
        (content,) = read_members(reader, [frames[len(frames) // 2]])
    except ReadError:
        return None
    return base64.b64encode(content).decode()
