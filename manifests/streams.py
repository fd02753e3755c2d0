"""Task streams as data: a TOML of ordered tasks, each a query with parameters, into plain SQL."""

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

ROLES = ("train", "eval", "retrieval")
_PARAMETER = re.compile(r"\$([a-z_]+)")
_HEAD = {"name", "title", "dataset", "fidelity", "seed", "source", "notes", "queries", "tasks"}


class StreamError(LookupError):
    """A stream that cannot be used: which, what was wrong in it, what is allowed."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a stream. queries: SQL by role, each complete and returning `clip_id`."""

    task: str
    queries: dict[str, str]


@dataclass(frozen=True)
class Stream:
    """An ordered list of tasks. fidelity: strict | published (see docs/architecture.md)."""

    name: str
    title: str
    dataset: str | None
    tasks: tuple[Task, ...]
    fidelity: str = "strict"
    seed: int = 0
    source: str = ""
    notes: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


def shipped() -> dict[str, Path]:
    """The streams beside the datasets, by name."""
    folder = Path(str(files("av_datasets").joinpath("streams")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_stream(name: str | Path) -> Stream:
    """A shipped stream by name, or one from a TOML file. Raises StreamError."""
    path = Path(name) if str(name).endswith(".toml") else shipped().get(str(name))
    if path is None:
        near = difflib.get_close_matches(str(name), shipped(), n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise StreamError(f"unknown stream {name!r}{hint} (there are: {', '.join(shipped())})")
    try:
        return from_table(tomllib.loads(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise StreamError(f"stream {path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StreamError(f"stream {path} is not TOML: {error}") from error


def from_table(table: dict[str, Any], where: str) -> Stream:
    """A stream from parsed TOML. Top-level keys that are not the stream's own are parameters.

    `[queries]` holds SQL by role; `$name` in it stands for a parameter: the task's own value, or
    the stream's. A task may replace a query by its own `queries`.
    """
    missing = {"name", "tasks"} - table.keys()
    if missing:
        raise StreamError(f"{where}: the key {sorted(missing)[0]!r} is missing")
    parameters = {key: value for key, value in table.items() if key not in _HEAD}
    common = {"dataset": table.get("dataset"), "seed": table.get("seed", 0), **parameters}
    tasks = tuple(
        _task(entry, table.get("queries", {}), common, f"{where}, task {number}")
        for number, entry in enumerate(table["tasks"])
    )
    names = [task.task for task in tasks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise StreamError(f"{where}: the task {twice!r} is there twice")
    own = {key: table[key] for key in _HEAD & table.keys() - {"queries", "tasks"}}
    return Stream(
        **{"title": own["name"], "dataset": None, **own}, tasks=tasks, parameters=parameters
    )


def _task(
    entry: dict[str, Any], queries: dict[str, str], common: dict[str, Any], where: str
) -> Task:
    if "task" not in entry:
        raise StreamError(f"{where}: the key 'task' (its name) is missing")
    chosen = {**queries, **entry.get("queries", {})}
    if unknown := next((role for role in chosen if role not in ROLES), None):
        raise StreamError(f"{where}: role {unknown!r} is not one of {', '.join(ROLES)}")
    values = {**common, **entry}
    bound = {
        role: _bind(chosen[role], values, f"{where} ({entry['task']}), {role}")
        for role in ROLES
        if role in chosen
    }
    return Task(str(entry["task"]), bound)


def _bind(query: str, values: dict[str, Any], where: str) -> str:
    """The query with every `$name` replaced by its value as an SQL literal."""

    def literal(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise StreamError(f"{where}: the query names ${match[1]}, which has no value")
        return sql_literal(values[match[1]])

    return _PARAMETER.sub(literal, query).strip()


def sql_literal(value: Any) -> str:
    """A TOML value as an SQL literal, quotes doubled."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(sql_literal(item) for item in value) + "]"
    return "'" + str(value).replace("'", "''") + "'"
