"""The report page of a dataset: counts, reasons and escaped text."""

import pytest

from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store, StoreError
from avstore.pipelines.report.page import write_report
from tests.manifests.conftest import store  # noqa: F401 -- a fixture


def test_page_has_the_summary_and_escapes_data(store: Store) -> None:  # noqa: F811
    with writing(store), open_write(store) as writer:
        writer.con.execute("UPDATE samples SET frame_count = 2")
        writer.publish()
    with open_read(store) as con:
        ((stage,),) = con.execute("SELECT DISTINCT stage FROM stages").fetchall()
        wanted, stored = con.execute(
            "SELECT wanted, stored FROM account WHERE stage = ?", [stage]
        ).fetchone()
        path = write_report(con, store, "toy", stage)
    page = path.read_text()
    assert path == store.reports / "toy.html"
    assert f'<td>{stage}</td><td class="n">{wanted}</td><td class="n">{stored}</td>' in page
    for heading in ("Summary", "Coverage per class", "Samples"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("data:image/jpeg;base64,") == min(stored, 24)


def test_hostile_names_are_escaped(store: Store) -> None:  # noqa: F811
    with open_read(store) as con:
        path = write_report(con, store, "toy", "<script>")
        with pytest.raises(StoreError, match="is not a dataset"):
            write_report(con, store, "../<script>", "none")
    assert "<script>" not in path.read_text()
    assert "&lt;script&gt;" in path.read_text()


def test_characters_that_reorder_or_colour_text_are_escaped(store: Store) -> None:  # noqa: F811
    with writing(store), open_write(store) as writer:
        writer.con.execute("UPDATE clips SET labels = ['\x1b[31mred', '\u202emp4']")
        writer.publish()
    with open_read(store) as con:
        page = write_report(con, store, "toy", "\x1b[31m \u2066<b>").read_text()
    assert not set(page) & set("\x1b\u202e\u2066\r")
    assert "\\x1b[31m \\u2066&lt;b&gt;" in page
