"""docs/questions.md: every command prints what the page says, on the embedded sample."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS
from tests.docs.run_page import run_page

PAGE = (DOCS / "questions.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_prints_what_the_page_says(built_sample: Path) -> None:
    assert run_page(PAGE, built_sample.parent) >= 20


def test_the_page_asks_twenty_questions() -> None:
    titles = re.findall(r"^## (\d+)\. .*\?$", PAGE, re.M)
    assert [int(number) for number in titles] == list(range(1, 21))
