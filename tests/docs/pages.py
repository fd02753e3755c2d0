"""The pages that a reader sees: README, docs/ and what the build generates."""

import json
import re
from pathlib import Path

from tests.conftest import REPO

DOCS = REPO / "docs"
PAGES = [REPO / "README.md", *sorted(DOCS.rglob("*.md")), DOCS / "tour.ipynb"]
"""Every page that is kept in the repository."""

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def name_of(page: Path) -> str:
    """Return a page's path in the repository, as a test's id."""
    return str(page.relative_to(REPO))


def text_of(page: Path) -> str:
    """Return a page's Markdown; of a notebook, that of its text cells."""
    text = page.read_text()
    if page.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def blocks(text: str, language: str) -> list[str]:
    """Return a page's fenced blocks of a language ('': without one)."""
    return [block for found, block in _FENCE.findall(text) if found == language]


def prose(text: str) -> str:
    """Return a page's text without fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def code_spans(text: str) -> list[str]:
    """Return a page's code spans outside fenced blocks."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
