"""Generate the reference of the manifest's tables and views from their comments."""

import itertools

from avstore.manifests.tasks import empty_manifest
from docs.tools.docstrings import cell

_COMMENTS = "SELECT kind, name, column_name, type, comment FROM schema_help"


def page() -> str:
    """Return the page: every view and table with its columns."""
    with empty_manifest(commented=True) as con:
        rows = con.execute(_COMMENTS).fetchall()
    lines = ["# Tables and views", "", "Generated from the manifest's comments; `FROM schema_help` "
             "returns the same.", ""]  # fmt: skip
    found = {key: list(group) for key, group in itertools.groupby(rows, key=lambda row: row[:2])}
    for kind in ("view", "table"):
        lines += [f"## {kind.capitalize()}s", ""]
        for name in [name for other, name in found if other == kind]:
            (about, *columns) = found[kind, name]
            lines += [
                f"### {name}",
                "",
                about[4],
                "",
                "| column | type | content |",
                "|---|---|---|",
            ]
            lines += [
                f"| `{c[2]}` | {cell(c[3])} | {cell(c[4]).replace('<', '&lt;')} |" for c in columns
            ]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"
