"""Copy the comments of the SQL files to the manifest, as COMMENTs of its tables, views and columns.

The lines before a CREATE describe the table, view or macro. In a table, the text behind a column
describes the column; before a view, lines `--   column: text` do. A column without a text has that
of the column of the same name in the tables and views that the view names, or in an earlier table.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import duckdb

_CREATE = re.compile(
    r"CREATE (?:OR REPLACE )?(TABLE|VIEW|MACRO)(?: IF NOT EXISTS)? (\w+)", re.IGNORECASE
)
_COLUMN = re.compile(r'^    "?(\w+)"? [A-Z][^-]*(?:-- (.*))?$')
_COLUMN_TEXT = re.compile(r"^--   (\w+): (.*)$")
_MORE = re.compile(r"^\s+-- (.*)$|^--     (.*)$")
_SOURCE = re.compile(r"\b(?:FROM|JOIN) (\w+)")


@dataclass
class Described:
    """A table, view or macro of the SQL files.

    Attributes:
        kind: 'TABLE', 'VIEW' or 'MACRO TABLE'.
        name: Its name.
        text: What it holds.
        columns: Text by column.
        sources: Tables and views that it names, in order.
    """

    kind: str
    name: str
    text: str
    columns: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


def describe(sql: str) -> Iterator[Described]:
    """Yield what an SQL file creates, with the texts of its comments."""
    header: list[str] = []
    lines = iter(sql.splitlines())
    for line in lines:
        if line.startswith("--"):
            header.append(line)
        elif found := _CREATE.match(line):
            body = [line]
            while not body[-1].endswith(";"):
                body.append(next(lines))
            yield _described(found[1].upper(), found[2], header, body)
            header = []
        else:
            header = []


def _described(kind: str, name: str, header: list[str], body: list[str]) -> Described:
    first = next((i for i, x in enumerate(header) if _COLUMN_TEXT.match(x)), len(header))
    text = " ".join(line.removeprefix("--").strip() for line in header[:first])
    columns = _column_texts(header[first:], _COLUMN_TEXT)
    if kind == "TABLE":
        columns |= _column_texts(body[1:], _COLUMN)
    sources = tuple(dict.fromkeys(_SOURCE.findall(" ".join(body))))
    return Described("MACRO TABLE" if kind == "MACRO" else kind, name, text, columns, sources)


def _column_texts(lines: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Return text by column; a comment that goes on in the next line is joined."""
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        if match := pattern.match(line):
            name, found[match[1]] = match[1], match[2] or ""
        elif name and (more := _MORE.match(line)):
            found[name] = f"{found[name]} {more[1] or more[2]}".strip()
    return found


def write_comments(con: duckdb.DuckDBPyConnection, described: Sequence[Described]) -> None:
    """Set the COMMENTs that the manifest's tables, views, macros and columns do not have yet."""
    known = {item.name: item for item in described}
    wanted = {(item.name, ""): item.text for item in described}
    existing = _existing(con)
    for name, column in existing:
        if column and name in known:
            wanted[name, column] = _column_text(known, name, column)
    statements = [
        _statement(known[name].kind, name, column, text)
        for (name, column), text in wanted.items()
        if text and (name, column) in existing and existing[name, column] != text
    ]
    if statements:
        con.execute(";".join(statements))


def _column_text(known: dict[str, Described], name: str, column: str) -> str:
    """Return a column's own text, or that of the column of its name in its sources."""
    item = known[name]
    if text := item.columns.get(column):
        return text
    if item.kind == "VIEW":
        texts = [_column_text(known, x, column) for x in item.sources if x in known and x != name]
    elif column in item.columns:
        texts = [other.columns.get(column, "") for other in known.values() if other.kind == "TABLE"]
    else:
        texts = []
    return next(filter(None, texts), "")


def _existing(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], str | None]:
    """Return the comments by (table, view or macro; column, or '' for itself)."""
    rows = con.execute(
        """
        SELECT table_name, '', comment FROM duckdb_tables() WHERE schema_name = 'main'
        UNION ALL SELECT view_name, '', comment FROM duckdb_views()
        WHERE NOT internal AND NOT temporary AND database_name = current_database()
        UNION ALL SELECT function_name, '', comment FROM duckdb_functions()
        WHERE function_type = 'table_macro' AND NOT internal
        UNION ALL SELECT table_name, column_name, comment FROM duckdb_columns()
        WHERE NOT internal AND database_name = current_database()
        """
    ).fetchall()
    return {(name, column): comment for name, column, comment in rows}


def _statement(kind: str, name: str, column: str, text: str) -> str:
    value = "'" + text.replace("'", "''") + "'"
    if column:
        return f'COMMENT ON COLUMN "{name}"."{column}" IS {value}'
    return f'COMMENT ON {kind} "{name}" IS {value}'
