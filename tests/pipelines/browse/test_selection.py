"""A selection is an address, SQL and loader code, and all of them select the same clips."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avstore.manifests.library import open_store
from avstore.manifests.store import StoreError
from avstore.pipelines.browse.facts import KINDS, MEASURES
from avstore.pipelines.browse.gallery import export_table, histogram, value_counts
from avstore.pipelines.browse.selection import SORTS, Selection, parse
from avstore.pipelines.browse.session import Snapshot
from tests.pipelines.browse.conftest import HOSTILE, change, client

TEXTS = st.sampled_from(["", "class 1", "class 4", "test", "stored", "pending", *HOSTILE])
NUMBERS = st.none() | st.floats(-1e6, 1e6, allow_nan=False)
FACETS = st.dictionaries(
    st.sampled_from([*KINDS, "label", "task"]), st.lists(TEXTS, min_size=1, max_size=3, unique=True)
)
RANGES = st.dictionaries(
    st.sampled_from([*MEASURES]), st.tuples(NUMBERS, NUMBERS).filter(lambda p: p != (None, None))
)
SELECTIONS = st.builds(
    lambda values, ranges, text, sql, sort, page: Selection(
        tuple((name, tuple(chosen)) for name, chosen in values.items()),
        tuple((name, float_of(a), float_of(b)) for name, (a, b) in ranges.items()),
        text.strip(),
        sql,
        sort,
        page,
    ),
    FACETS,
    RANGES,
    TEXTS,
    st.sampled_from(["", "SELECT clip_id FROM trainable WHERE split = 'test' -- a comment"]),
    st.sampled_from([*SORTS, "-loudness_lufs"]),
    st.integers(1, 400),
)


def float_of(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.10g}")


@pytest.fixture(scope="module")
def snapshot(hostile_folder):
    found = Snapshot(open_store(hostile_folder))
    yield found
    found.close()


@given(SELECTIONS)
def test_an_address_is_a_selection_and_back(selection: Selection) -> None:
    pairs = parse_qsl(selection.query.removeprefix("?"), keep_blank_values=True)
    assert parse(pairs) == selection


def test_its_sql_selects_the_same_clips(snapshot: Snapshot) -> None:
    @given(SELECTIONS)
    def check(selection: Selection) -> None:
        counted = set(export_table(snapshot, selection)["clip_id"].to_pylist())
        queried = {row["clip_id"] for row in snapshot.query(selection.to_sql()).rows()}
        assert counted == queried

    check()


@pytest.mark.parametrize("facet", [*KINDS, "label", "task"])
def test_counts_are_those_of_the_selection_with_the_value(snapshot: Snapshot, facet: str) -> None:
    for row in value_counts(snapshot, parse([("q", "k"), ("split", HOSTILE[2])]), facet):
        chosen = parse([("q", "k"), ("split", HOSTILE[2])]).without(facet)
        chosen = chosen.toggled(facet, row["value"])
        if facet != "label" or row["value"]:
            assert export_table(snapshot, chosen).num_rows == row["clips"]


def test_a_histogram_counts_every_clip_that_has_the_measure(snapshot: Snapshot) -> None:
    found = histogram(snapshot, Selection(), "duration_s")
    assert sum(found.counts) == 23
    for name in MEASURES:
        assert sum(histogram(snapshot, Selection(), name).counts) <= 23


@pytest.mark.parametrize("label", HOSTILE)
def test_its_loader_code_runs_and_loads_the_selected_clips(hostile_folder, label: str) -> None:
    selection = parse([("label", label)])
    names: dict = {}
    exec(selection.to_code(str(hostile_folder)), names)
    clips = {row["clip_id"] for row in names["store"].query(selection.to_sql()).rows()}
    stored = [c for c in clips if c != "toy/k161_000023"]
    assert len(names["samples"]) == len(stored)


def test_measured_values_are_bounds_that_facets_and_sql_agree_on(own_folder) -> None:
    numbers = [1 / 79, 2 / 79, 0.1, 4.166666666666667e-06, -25.098396443209776]
    change(
        own_folder,
        f"UPDATE quality SET loudness_lufs = {numbers}[1 + rowid % {len(numbers)}]",
    )
    with open_store(own_folder) as store:
        found = Snapshot(store)
        for value in (*numbers, 1e300):
            for end in ("min", "max"):
                selection = parse([(f"{end}_loudness_lufs", repr(value))])
                counted = set(export_table(found, selection)["clip_id"].to_pylist())
                rows = found.query(selection.to_sql()).rows()
                assert counted == {row["clip_id"] for row in rows}
                assert counted or value == 1e300
        found.close()


@pytest.mark.parametrize("label", ["\u039f\u0394\u039f\u03a3", "\u0130stanbul", "Stra\u00dfe"])
def test_a_text_finds_the_label_that_it_equals(own_folder, label: str) -> None:
    change(own_folder, f"UPDATE clips SET labels = ['{label}'] WHERE position = 1")
    with client(own_folder) as pages:
        assert label in pages.get("/export.csv", params={"q": label}).text


@pytest.mark.parametrize("page", ["0000004009", "000000400" + "5" * 5000, "1" * 5000, "+1", ""])
def test_a_page_is_a_number_up_to_the_last_one(page: str) -> None:
    with pytest.raises(StoreError, match="is not a number from 1 to 400"):
        parse([("page", page)])
