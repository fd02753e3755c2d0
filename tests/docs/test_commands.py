"""Every command line and every Python snippet of the pages is one that exists."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.tools.cli_reference import SCRIPTS, children, page, parser_of, root
from tests.conftest import REPO
from tests.docs.pages import PAGES, blocks, code_spans, name_of, text_of

PROGRAM = re.compile(
    r"^(?:\$ )?(?:\S+=\S+ )*(?:\.venv/bin/)?(avstore|python|torchrun|make)(?:\s|$)"
)


def lines_of(block: str) -> Iterator[str]:
    """Yield the command lines of a block, continued and multi-line quoted ones joined."""
    pending = ""
    for line in block.splitlines():
        pending = f"{pending}\n{line}" if pending else line
        if pending.endswith("\\"):
            pending = pending[:-1] + " "
            continue
        try:
            shlex.split(pending, comments=True)
        except ValueError:  # within quotes: the next line belongs to it
            continue
        yield pending
        pending = ""


def command_lines(text: str) -> list[str]:
    """Return the lines of a page's blocks that run a program of the project."""
    found = [line for block in blocks(text, "") for line in lines_of(block)]
    return [line for line in found if PROGRAM.match(line)]


def words_of(line: str) -> list[str]:
    """Return a line's words, without prompt, environment, programs piped to, and comments."""
    words = shlex.split(line.removeprefix("$ "), comments=True)
    while words and "=" in words[0]:
        words.pop(0)
    for end in ("|", ">", "&&", ";"):
        if end in words:
            words = words[: words.index(end)]
    return words


def check(words: list[str], *, whole: bool) -> None:
    """Parse `avstore` words with the command's own parser; whole: required ones included."""
    command, rest = root(), words
    while (inner := children(command)) and rest and not rest[0].startswith("-"):
        assert rest[0] in inner, f"no command {rest[0]!r}"
        command, rest = inner[rest[0]], rest[1:]
    context = command.context_class(command, info_name=command.name)
    if inner:
        assert rest or not whole, "a subcommand is missing"
        command.make_parser(context).parse_args(list(rest))
        return
    values, left, _ = command.make_parser(context).parse_args(list(rest))
    assert left == [], f"too many arguments: {left}"
    if whole and not values.get("help"):
        lacking = [p.name for p in command.params if p.required and values.get(p.name) is None]
        assert lacking == [], f"missing: {lacking}"


def check_line(line: str) -> None:
    """Parse one command line without running it."""
    words = words_of(line)
    program = Path(words[0]).name
    script = next((word for word in words if word in SCRIPTS), None)
    if program == "avstore" and words[1:2] == ["train"]:
        parser_of("train/run.py").parse_args(words[2:])
    elif program == "avstore":
        check(words[1:], whole=True)
    elif script is not None:
        parser_of(script).parse_args(words[words.index(script) + 1 :])
    elif words[1:2] == ["-m"]:
        assert importlib.util.find_spec(words[2]) is not None, words[2]
    elif program == "make":
        targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        known = (REPO / "Makefile").read_text()
        for target in targets:
            assert target.endswith("-shards") or f"\n{target}:" in known, target


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_command_lines_of_blocks_parse(path: Path) -> None:
    failed = []
    for line in command_lines(text_of(path)):
        try:
            check_line(line)
        except (SystemExit, Exception) as error:
            failed.append(f"{line}: {error!r}")
    assert failed == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_commands_named_in_prose_exist(path: Path) -> None:
    failed = []
    for span in code_spans(text_of(path)):
        if not span.startswith("avstore ") or "…" in span or "COMMAND" in span:
            continue
        try:
            check(shlex.split(span)[1:], whole=False)
        except Exception as error:
            failed.append(f"{span}: {error!r}")
    assert failed == []


def test_examples_of_the_reference_parse() -> None:
    for line in command_lines(page()):
        if not line.endswith("[OPTIONS]"):  # not a line of usage
            check_line(line)


def test_a_wrong_command_line_is_noticed() -> None:
    for line in (
        "avstore buidl vggsound",
        "avstore build vggsound --stroe data",
        "avstore sql",
        "avstore status vggsound extra",
        "python train/run.py --shards data --methd er",
        "make dcos",
    ):
        with pytest.raises((SystemExit, Exception)):
            check_line(line)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_python_snippets_import_names_that_exist(path: Path) -> None:
    for block in blocks(text_of(path), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avstore"):
                module = importlib.import_module(str(node.module))
                missing = [name.name for name in node.names if not hasattr(module, name.name)]
                assert missing == [], f"{node.module}: {missing}"
