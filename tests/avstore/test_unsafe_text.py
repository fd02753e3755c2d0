"""Data is never parsed as SQL or as markup: the code is searched for places where it could be."""

import ast
import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from avstore.manifests.terminal import console
from avstore.pipelines.cli.progress import bar
from avstore.pipelines.cli.tables import print_json, print_table
from tests.conftest import REPO

FOLDERS = ("av_datasets", "manifests", "pipelines", "train")
FILES = sorted(path for folder in FOLDERS for path in (REPO / folder).rglob("*.py"))
_SQL = re.compile(
    r"\b(SELECT|INSERT INTO|DELETE FROM|UPDATE \w+|CREATE (OR REPLACE )?(TEMP )?(TABLE|VIEW)|DROP|"
    r"ATTACH|COPY|DESCRIBE|SET|LEFT JOIN|WHERE|AND) [\w('$?{\n]|^, ?\w+\.| AS \b"
)
_QUOTING = {"sql_name", "sql_literal", "int", "numbered"}
# Interpolated expressions that hold constants of the code, or a person's own query, by file.
ALLOWED: dict[str, set[str]] = {
    "manifests/annotation_sets.py": {
        "table",
        "', '.join(columns)",
        "name",
        "clips if name in _OF_CLIPS else 'dataset = $name'",
    },
    "manifests/compare.py": {  # names of the code's own tables
        "_columns(rebuilt, table)",
        "columns",
        "name",
        "path",
        "these",
        "those",
    },
    "manifests/drop.py": {"table"},
    "manifests/ingest.py": {"source", "table", "latest if choose else ''"},
    "manifests/ledger.py": {"table", "read", "there", "number"},
    "manifests/schema.py": {"kind", "tasks"},  # a SELECT of checked queries
    "manifests/sidecar_check.py": {"bad"},
    "manifests/snapshots.py": {"key", "columns", "table"},
    "manifests/statistics.py": {"', '.join('?' * len(vars(found)))"},
    "manifests/status.py": {"table", "_within(span)"},
    "manifests/task_report.py": {"head", "chosen"},  # a guarded connection
    "manifests/tasks.py": {"query"},  # checked queries
    # Conditions of a checked selection, quoted names and numbers, and the user's checked query.
    "pipelines/browse/facts.py": {
        "', '.join((f'{_column(name)}::FLOAT AS {sql_name(name)}' for name in MEASURES))",
        "_kinds('clips')",
        "columns",
        "condition",
        "part",
        "table",
        "values",
        "where",
    },
    "pipelines/browse/gallery.py": {
        "', '.join(numbered)",  # v0, v1, …
        "_order(selection.sort)",
        "name",
        "sql",  # of the SQL box, on a guarded connection
        "sql.replace('$', where)",
        "start",
        "values",
        "where",
        "width",
    },
    "pipelines/browse/selection.py": {"_listed(tasks)", "name", "self.sql"},
    "pipelines/fetch/availability.py": {"name", "read", "sha256"},
    "pipelines/fetch/eta.py": {"charged"},
    "pipelines/fetch/retry.py": {"where"},  # --where, on a guarded connection
    "pipelines/interchange/export.py": {"counts[0][0]", "counts[0][1]"},  # a message
    "train/data/mixture.py": {"columns", "sql.strip().rstrip(';')"},  # the user's query
    "train/data/query.py": {"number", "columns", "stored"},
    "train/data/query_columns.py": {"count"},  # a quoted name
    "train/data/query_rows.py": {"', '.join(columns)"},
    "train/tasks.py": {"sql"},
}


def _parts(node: ast.AST) -> tuple[str, list[ast.expr]] | None:
    """Return the constant text of a string that is put together, and what is put into it."""
    match node:
        case ast.JoinedStr(values):
            text = "".join(str(v.value) if isinstance(v, ast.Constant) else "{" for v in values)
            return text, [v.value for v in values if isinstance(v, ast.FormattedValue)]
        case ast.Call(ast.Attribute(ast.Constant(str() as text), "format"), given, named):
            return text, [*given, *(word.value for word in named)]
        case ast.BinOp(ast.Constant(str() as text), ast.Mod() | ast.Add(), right):
            return text, [right]
    return None


def _is_constant(value: ast.expr) -> bool:
    match value:
        case ast.Call(ast.Name(name)):
            return name in _QUOTING
        case ast.Name(name) | ast.Subscript(ast.Name(name)) | ast.Attribute(_, name):
            return name == name.upper()
    return isinstance(value, ast.Constant)


def _interpolated(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each expression that is put into SQL unquoted."""
    for node in ast.walk(ast.parse(source)):
        if (parts := _parts(node)) and _SQL.search(parts[0]):
            yield from ((v.lineno, ast.unparse(v)) for v in parts[1] if not _is_constant(v))


def test_sql_holds_no_data() -> None:
    found = {
        (str(path.relative_to(REPO)), text): f"{path.relative_to(REPO)}:{line}: {text}"
        for path in FILES
        for line, text in _interpolated(path.read_text())
    }
    allowed = {(file, text) for file, texts in ALLOWED.items() for text in texts}
    assert [found[key] for key in found.keys() - allowed] == [], "bind it, or use sql_literal"
    assert allowed - found.keys() == set(), "no longer in the code"


@pytest.mark.parametrize(
    "code",
    [
        "con.execute(f\"SELECT 1 WHERE dataset = '{dataset}'\")",
        "con.execute(\"SELECT 1 WHERE dataset = '{}'\".format(dataset))",
        "con.execute(\"SELECT 1 WHERE dataset = '%s'\" % dataset)",
        'con.execute("SELECT 1 WHERE dataset = " + dataset)',
    ],
)
def test_formatted_sql_is_found(code: str) -> None:
    assert [text for _, text in _interpolated(code)] == ["dataset"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPO)))
def test_only_one_console_is_made_and_columns_of_progress_are_plain(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rsplit(".", 1)[-1]
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert name != "Console" or path.name == "terminal.py", "use terminal.console()"
            assert name != "TextColumn" or options.get("markup") == "False"
            assert name != "from_markup"
            assert options.get("markup", "False") == "False"


DATA = ["[/red]", "[generic] no video", "[bold]x[/bold]", ":smile:", "[link=file:///x]", "{0}{a}"]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("data", DATA)
def test_data_is_printed_as_it_is(data: str, terminal: bool) -> None:
    out = console()
    out.file = written = StringIO()
    out._force_terminal = terminal
    out.print(data)
    table = Table(data, title=data)
    table.add_row(data)
    out.print(table)
    with bar(out, data, 1, unit=data) as advance:
        advance(1)
    assert written.getvalue().count(data) >= 5


OBEYED = [
    "\x1b[31m",
    "\x9b31m",
    "\x07",
    "\r",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u200f",
    "\u2028",
    "\udce9",
]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("data", OBEYED)
def test_characters_that_a_terminal_obeys_are_not_printed(data: str, terminal: bool) -> None:
    out = console()
    out.file = written = StringIO()
    out._force_terminal, out.no_color = terminal, True
    out.print(f"a{data}b")
    out.print(Text(f"a{data}b", "red"))
    table = Table(f"a{data}b")
    table.add_row(f"a{data}b")
    out.print(table)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue()) if data != "\x1b[31m" else ""
    assert data not in shown
    assert "a\x1b[31mb" not in written.getvalue()


@pytest.mark.parametrize("data", [*OBEYED, "one\ntwo"])
def test_rows_of_a_table_are_escaped_and_json_keeps_its_values(
    data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_table(["name", "next"], [[f"a{data}b", "c"], ["d", "e"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "\\" in lines[1]
    assert lines[1].index("c", 4) == lines[2].index("e")
    print_json([{"name": f"a{data}b"}])
    (line,) = capsys.readouterr().out.splitlines()
    assert data not in line
    assert json.loads(line) == {"name": f"a{data}b".replace("\udce9", r"\xe9")}
