"""docs/tour.ipynb runs, and prints what it shows.

All outputs are compared, cell by cell: their kinds, and the words of their texts. In cells tagged
`numbers-vary`, numbers may differ from those of another machine; pictures and sound may always.
"""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from docs.tools.notebook import TOUR, execute, page
from tests.conftest import REPO

KEPT = nbformat.read(TOUR, as_version=4)
VARIES = "numbers-vary"


def outputs(cell: NotebookNode) -> list[tuple[str, list[str]]]:
    """Return the kind and the words of each output of a cell."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        kind = ",".join([output.output_type, *sorted(data)])
        text = output.text if output.output_type == "stream" else data.get("text/plain", "")
        if VARIES in cell.metadata.get("tags", ()):
            text = re.sub(r"-?\d+(\.\d+)?", "#", text)
        found.append((kind, text.split()))
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_cell_prints_what_the_notebook_shows(built_sample: Path, tmp_path: Path) -> None:
    shutil.copytree(built_sample, tmp_path / "data")
    (tmp_path / "docs").mkdir()  # where Jupyter starts
    again = execute(TOUR, tmp_path / "docs")
    for kept, cell in zip(KEPT.cells, again.cells, strict=True):
        if cell.cell_type == "code":
            assert outputs(cell) == outputs(kept), cell.source


def test_its_outputs_are_small_and_the_same_for_everyone() -> None:
    assert TOUR.stat().st_size < 500_000
    cells = [cell for cell in KEPT.cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells if cell.execution_count is None] == []
    texts = [str(output) for cell in cells for output in cell.outputs]
    for found in (str(REPO), str(Path.home()), "/tmp/", "Warning", "stderr"):
        assert [text[:200] for text in texts if found in text] == []


def test_its_page_has_its_pictures_and_its_sound() -> None:
    shown = page(TOUR)
    assert shown.count("![](data:image/png;base64,") == 4
    assert shown.count("<audio") == 1
    assert "```python\nimport avstore\n" in shown
