"""Write STORE/reports/<dataset>.html: the pages of a dataset as one file, without a server."""

import base64
import hashlib
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from avstore.manifests.library import OpenStore
from avstore.manifests.names import check_name
from avstore.manifests.sealed import html_bytes
from avstore.manifests.store import Store, committing, refuse_links
from avstore.pipelines.browse import overview
from avstore.pipelines.browse.layouts import layouts_at
from avstore.pipelines.browse.pages import environment, static_text
from avstore.pipelines.browse.session import Snapshot
from avstore.pipelines.report.samples import Sample, samples_within

MOST_BYTES = 5_000_000
"""Size of the page at any size of the store."""
_SAMPLES = 24  # clips shown
_SAMPLE_BYTES = 3_000_000  # what their pictures and sound take together
_CAPTION_BYTES = 500_000  # what their names and labels take at most
_FAILURES = 200  # clips listed
_CLASSES = 2000
_SCRIPT = """
document.querySelectorAll("table.sortable").forEach(makeSortable);
watchFilters();
"""


def write_report(store: Store, dataset: str, stage: str) -> Path:
    """Write the report page of a dataset and return its path.

    Args:
        store: The store; the page is written to its folder reports.
        dataset: The dataset.
        stage: Extraction stage, `<recipe>-<fp8>`.

    Raises:
        StoreError: The dataset's name is none, or the manifest cannot be read.
    """
    name = check_name("dataset", dataset)
    snapshot = Snapshot(OpenStore(store, str(store.root)))
    try:
        page = _page(snapshot, dataset, stage)
    finally:
        snapshot.close()
    refuse_links(store)
    path = store.reports / f"{name}.html"
    with committing(path) as file:
        file.write(html_bytes(page))
    return path


def _page(snapshot: Snapshot, dataset: str, stage: str) -> str:
    script = static_text("tables.js") + _SCRIPT
    style = static_text("app.css")
    rows = _rows(snapshot, _CHOSEN, dataset, stage)
    of_dataset = [each for each in overview.summaries(snapshot) if each.account.dataset == dataset]
    classes = _rows(snapshot, _COVERAGE, dataset, stage)
    render = partial(
        environment().get_template("report.html").render,
        dataset=dataset,
        stage=stage,
        facts=next(iter(_rows(snapshot, _FACTS, dataset)), None),
        summaries=of_dataset,
        reasons=_rows(snapshot, _REASONS, dataset, stage),
        failures=_rows(snapshot, _FAILED, dataset, stage),
        failed=_rows(snapshot, _FAILED_COUNT, dataset, stage)[0]["clips"],
        classes=classes[:_CLASSES],
        class_count=len(classes),
        chosen=len(rows),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
    )
    text = len(html_bytes(render(samples=[])))
    room = min(_SAMPLE_BYTES, MOST_BYTES - _CAPTION_BYTES - text)
    return render(samples=_samples(snapshot, rows, room))


def _policy(style: str, script: str) -> str:
    """Return the page's content security policy: its own style and script, and no other."""
    return (
        "default-src 'none'; img-src data:; media-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _rows(snapshot: Snapshot, sql: str, dataset: str, stage: str = "") -> list[dict[str, Any]]:
    params = {"dataset": dataset, "stage": stage}
    return snapshot.query(sql, {k: v for k, v in params.items() if f"${k}" in sql}).rows()


_FACTS = "SELECT * FROM datasets WHERE name = $dataset"
_REASONS = """
SELECT * FROM (
    SELECT failed_at, status, verdict AS reason, count(*) AS clips,
           left(any_value(detail), 300) AS example
    FROM failures WHERE stage = $stage AND dataset = $dataset GROUP BY ALL
) ORDER BY reason <> 'unknown', clips DESC, reason
"""
_FAILED = f"""
SELECT clip_id, status, verdict AS reason, left(detail, 300) AS detail FROM failures
WHERE stage = $stage AND dataset = $dataset LIMIT {int(_FAILURES)}
"""
_FAILED_COUNT = """
SELECT count(*) AS clips FROM failures WHERE stage = $stage AND dataset = $dataset
"""
_COVERAGE = """
SELECT left(label, 120) AS label, sum(wanted)::BIGINT AS wanted, sum(stored)::BIGINT AS stored
FROM coverage WHERE dataset = $dataset AND stage = $stage AND label IS NOT NULL
GROUP BY ALL ORDER BY sum(stored) / sum(wanted), label
"""
_CHOSEN = f"""
SELECT s.rowid AS sample, s.clip_id, left(c.split, 120) AS split,
       [left(label, 120) FOR label IN c.labels[:20]] AS labels, q.verdict
FROM samples s JOIN clips c USING (clip_id)
JOIN stages g ON g.fingerprint = s.fingerprint AND g.dataset = c.dataset
LEFT JOIN quality q ON q.clip_id = s.clip_id AND q.fingerprint = s.fingerprint
WHERE c.dataset = $dataset AND g.stage = $stage
ORDER BY hash(s.clip_id) LIMIT {int(_SAMPLES)}
"""


def _samples(
    snapshot: Snapshot, rows: list[dict[str, Any]], most: int
) -> list[tuple[dict[str, Any], Sample]]:
    """Return the rows of sample clips that can be read, with their pictures and sound.

    Args:
        snapshot: The store.
        rows: The clips.
        most: Characters that pictures and sound may take.
    """
    layouts = {
        each.clip_id: each for each in layouts_at(snapshot.store, [r["sample"] for r in rows])
    }
    ordered = [layouts[row["clip_id"]] for row in rows if row["clip_id"] in layouts]
    known = {row["clip_id"]: row for row in rows}
    found = samples_within(snapshot, ordered, most)
    return [(known[sample.layout.clip_id], sample) for sample in found]
