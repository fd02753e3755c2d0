"""Generate the reference of the command line from the commands themselves."""

import argparse
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_origin
from unittest import mock

import typer

from avstore.pipelines.cli.app import app
from avstore.pipelines.cli.options import ExitCode
from docs.tools.docstrings import cell, described, table, type_text, value_text

SCRIPTS = (
    "train/run.py",
    "train/evaluate.py",
    "train/reproduce.py",
    "train/reproduce_uavm.py",
)
"""Programs with a parser of their own: `python SCRIPT`."""


def page() -> str:
    """Return the page: every command, argument, option, default and exit code."""
    lines = ["# Command line", ""]
    lines += ["Generated from the code. `avstore COMMAND --help` prints the same.", ""]
    lines += _exit_codes()
    for path, command in commands():
        lines += _command(path, command)
    for script in SCRIPTS:
        lines += _script(script)
    return "\n".join(lines).rstrip() + "\n"


def root() -> Any:
    """Return the click command of `avstore`."""
    return typer.main.get_command(app)


def children(command: Any) -> dict[str, Any]:
    """Return the commands of a group by name, imported where the group does so on demand."""
    context = command.context_class(command, info_name=command.name)
    names = getattr(command, "commands", {})
    return {name: command.resolve_command(context, [name])[1] for name in names}


def commands() -> Iterator[tuple[str, Any]]:
    """Yield (`avstore features build`, its click command) for every command that runs."""
    pending = [("avstore", root())]
    while pending:
        path, command = pending.pop(0)
        inner = children(command)
        if not inner:
            yield path, command
        pending = [(f"{path} {name}", inner[name]) for name in inner] + pending


def parser_of(script: str) -> argparse.ArgumentParser:
    """Return the argument parser of a script in train/."""
    module = importlib.import_module(f"avstore.{script.removesuffix('.py').replace('/', '.')}")
    parsers: list[argparse.ArgumentParser] = []

    def capture(self: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        parsers.append(self)
        raise SystemExit

    parse: Callable[[list[str]], Any] = getattr(module, "parse", module.main)
    with mock.patch.object(argparse.ArgumentParser, "parse_args", capture):
        try:
            parse([])
        except SystemExit:
            return parsers[0]
    raise TypeError(f"{script} calls no ArgumentParser.parse_args")


def _exit_codes() -> list[str]:
    texts = described(ExitCode)
    codes = {name: value for name, value in vars(ExitCode).items() if name.isupper()}
    rows = [(str(int(value)), cell(texts.get(name, ""))) for name, value in codes.items()]
    return ["## Exit codes", "", *table(("code", "meaning"), rows)]


def _command(path: str, command: Any) -> list[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    words = [path, *(_shown(argument) for argument in arguments), "[OPTIONS]"]
    lines = [f"## {path}", "", "```", " ".join(words), "```", ""]
    lines += [_prose(command.help or ""), "", *_example(command.epilog or "")]
    if arguments:
        rows = [(f"`{a.name.upper()}`", cell(a.help or "")) for a in arguments]
        lines += table(("argument", "meaning"), rows)
    if options:
        rows = [_option(option) for option in options if option.name != "help"]
        lines += table(("option", "value", "default", "meaning"), rows)
    return lines


def _example(epilog: str) -> list[str]:
    head, _, line = epilog.partition("Example: ")
    block = ["Example:", "", "```", line.strip(), "```", ""] if line else []
    return [*([_prose(head), ""] if head.strip() else []), *block]


def _shown(argument: Any) -> str:
    name = argument.name.upper() + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> tuple[str, str, str, str]:
    names = " ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    text = cell(option.help or "")
    if option.envvar:
        text += f" Environment: `{option.envvar}`."
    if option.multiple and "repeat" not in text:
        text += " May be repeated."
    default = "required" if option.required else _default(option)
    return names, _value(option), default, text


def _value(option: Any) -> str:
    if option.is_flag:
        return "flag"
    if option.metavar:
        return f"`{option.metavar}`"
    bounds = [f"≥ {option.min}"] * (option.min is not None)
    bounds += [f"≤ {option.max}"] * (option.max is not None)
    return cell(", ".join([type_text(_one(option.type_descriptor.annotation)), *bounds]))


def _one(annotation: Any) -> Any:
    """Return the type of one value of an option that may be repeated."""
    return get_args(annotation)[0] if get_origin(annotation) is list else annotation


def _default(option: Any) -> str:
    value = option.default
    if value in (None, [], ()):
        return "–"
    if option.is_flag:
        named = option.opts if value else option.secondary_opts
        return f"`{named[0]}`" if named else "off"
    return f"`{getattr(value, 'value', value)}`"


def _script(script: str) -> list[str]:
    parser = parser_of(script)
    lines = [f"## python {script}", "", parser.description or "", ""]
    rows = [
        (
            " ".join(f"`{name}`" for name in action.option_strings),
            _argparse_value(action),
            _argparse_default(action),
            cell((action.help or "").replace("%%", "%")),
        )
        for action in parser._actions
        if action.dest != "help" and action.help is not argparse.SUPPRESS
    ]
    return lines + table(("option", "value", "default", "meaning"), rows)


def _argparse_value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "flag"
    if action.choices:
        return ", ".join(f"`{choice}`" for choice in action.choices)
    return f"`{action.metavar}`" if action.metavar else getattr(action.type, "__name__", "text")


def _argparse_default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    if action.nargs == 0:
        return "off"
    held = action.default
    return "–" if held in (None, []) else f"`{held if isinstance(held, str) else value_text(held)}`"


def _prose(text: str) -> str:
    """Return help text as Markdown; paragraphs after click's backspace mark keep their lines."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(text.replace("\f", "")))
    return "\n\n".join(
        "```\n" + inspect.cleandoc(part.replace("\b", "").strip("\n")) + "\n```"
        if part.lstrip().startswith("\b")
        else " ".join(part.split())
        for part in parts
    )
