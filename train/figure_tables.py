"""Write the numbers of a figure as CSV."""

import csv
import io
from typing import Any

Rows = list[dict[str, Any]]


def to_csv(rows: Rows) -> str:
    """Return rows with the same keys as CSV, numbers in full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
