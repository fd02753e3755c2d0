"""Text files of an export: CSV as the published code writes it, committed whole."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from avstore.manifests.store import committing


def csv_text(rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    """Rows as CSV with LF endings; quoted only where they must be."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_text(path: Path, text: str) -> Path:
    """Write `path` whole or not at all."""
    with committing(path) as file:
        file.write(text.encode())
    return path
