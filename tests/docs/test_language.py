"""The pages are written in plain technical English, and guides hold no measurements."""

import re
from pathlib import Path

import pytest

from docs.tools.hooks import generated_pages
from tests.conftest import REPO
from tests.docs.pages import DOCS, PAGES, name_of, prose, text_of

AVOIDED = re.compile(
    r"""\b(
        to\ be\ had | anew | by\ heart | to\ know\ of | told | stands? | lies | of\ one's\ own
      | is\ none\ of | is\ well | in\ the\ place\ of | the\ same\ of | as\ it\ was | what\ it\ is
      | one\ stands\ in | other\ people's | formats\ of\ others | weights\ of\ others
      | making\ and\ numbers | a\ look\ at | let\ go\ of | of\ another\ shape | or\ nothing\ else
      | all\ else | none\ else | verdicts?\ of | sound\ to\ picture
    )\b""",
    re.X | re.I,
)
GUIDES = [
    page for page in sorted(DOCS.glob("*.md")) if page.stem not in {"benchmarks", "quickstart"}
]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_avoids_the_words_that_readers_stumble_over(page: Path) -> None:
    found = [f"{match[0]!r}" for match in AVOIDED.finditer(prose(text_of(page)))]
    assert found == []


@pytest.mark.parametrize("path", sorted(generated_pages()))
def test_a_generated_page_avoids_them_too(path: str) -> None:
    text = prose(generated_pages()[path]())
    assert [match[0] for match in AVOIDED.finditer(text)] == []


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_a_guide_holds_no_measurements(page: Path) -> None:
    measured = r"clips/s|samples/s|\d % faster|times slower|CPU seconds|\d times as fast"
    assert re.findall(measured, page.read_text()) == []


def test_the_readme_is_short() -> None:
    assert len((REPO / "README.md").read_text().splitlines()) <= 90
