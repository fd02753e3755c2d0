"""Run docs/tour.ipynb, and show it as a page of the site.

`make tour` runs it and keeps its outputs.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

TOUR = Path(__file__).resolve().parents[1] / "tour.ipynb"
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(path: Path, folder: Path) -> NotebookNode:
    """Return a notebook with the outputs of a run in a folder, by a kernel of this Python.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    from nbclient import NotebookClient  # noqa: PLC0415 -- the site is built without it

    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # not a kernel "python3" of the user's
    with tempfile.TemporaryDirectory() as settings:
        os.environ["IPYTHONDIR"] = settings  # no history, and no start-up files of the user's
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook,
            timeout=280,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
            extra_arguments=["--log-level=ERROR"],  # not that its local port is not encrypted
        ).execute()
    notebook.metadata = nbformat.from_dict(_METADATA)
    return notebook


def page(path: Path) -> str:
    """Return a notebook as Markdown, with its outputs."""
    notebook = nbformat.read(path, as_version=4)
    return "\n\n".join(part for cell in notebook.cells for part in _cell_parts(cell)) + "\n"


def _cell_parts(cell: NotebookNode) -> Iterator[str]:
    if cell.cell_type == "markdown":
        yield cell.source
        return
    yield _fence(cell.source, "python")
    for output in cell.outputs:
        yield _output(output)


def _output(output: NotebookNode) -> str:
    if output.output_type == "stream":
        return _fence(output.text, "text")
    data = output.data
    if "image/png" in data:
        return f"![]({_data_address('image/png', data['image/png'])})"
    if "<audio" in data.get("text/html", ""):
        return str(data["text/html"]).strip()
    return _fence(data["text/plain"], "text")


def _data_address(kind: str, content: str) -> str:
    return f"data:{kind};base64,{content.replace(chr(10), '')}"


def _fence(text: str, language: str) -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


def main() -> None:
    """Run the tour in a temporary folder and write its outputs into the notebook."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = execute(TOUR, Path(folder))
    nbformat.write(notebook, TOUR)


if __name__ == "__main__":
    main()
