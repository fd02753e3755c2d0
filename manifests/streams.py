"""Task streams as data: a TOML of ordered tasks, each a query with parameters, into plain SQL."""

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from avstore.manifests.store import StoreError

ROLES = ("train", "eval", "retrieval")
_PARAMETER = re.compile(r"\$([a-z_]+)")
_HEAD = {"name", "title", "dataset", "fidelity", "seed", "source", "notes", "queries", "tasks"}


class StreamError(StoreError):
    """A stream that cannot be used: which, what was wrong in it, what is allowed."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task of a stream. queries: SQL by role, each complete and returning `clip_id`."""

    task: str
    queries: dict[str, str]


@dataclass(frozen=True)
class StreamSpec:
    """An ordered list of tasks. fidelity: strict | published (see docs/architecture.md)."""

    name: str
    title: str
    dataset: str | None
    tasks: tuple[TaskSpec, ...]
    fidelity: str = "strict"
    seed: int = 0
    source: str = ""
    notes: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


def parse_stream(text: str, where: str = "task stream") -> StreamSpec:
    """A stream from its TOML. Raises StreamError, `where` and the key named."""
    try:
        return from_table(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        raise StreamError(f"{where} is not TOML: {error}") from error


def from_table(table: dict[str, Any], where: str) -> StreamSpec:
    """A stream from parsed TOML. Top-level keys that are not the stream's own are parameters.

    `[queries]` holds SQL by role; `$name` in it stands for a parameter: the task's own value, or
    the stream's. A task may replace a query by its own `queries`. For every list of a task there
    is `$other_<list>`, the items of all other tasks; `$label_tasks` is a relation (label, task) of
    all tasks' `labels`.
    """
    missing = {"name", "tasks"} - table.keys()
    if missing:
        raise StreamError(f"{where}: the key {sorted(missing)[0]!r} is missing")
    parameters = {key: value for key, value in table.items() if key not in _HEAD}
    common = {
        "dataset": table.get("dataset"),
        "seed": table.get("seed", 0),
        **parameters,
        "label_tasks": _label_tasks(table["tasks"]),
    }
    tasks = tuple(
        _task(
            entry,
            table.get("queries", {}),
            {**common, **_others(entry, table["tasks"])},
            f"{where}, task {number}",
        )
        for number, entry in enumerate(table["tasks"])
    )
    names = [task.task for task in tasks]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise StreamError(f"{where}: the task {twice!r} is there twice")
    own = {key: table[key] for key in _HEAD & table.keys() - {"queries", "tasks"}}
    return StreamSpec(
        **{"title": own["name"], "dataset": None, **own}, tasks=tasks, parameters=parameters
    )


class _Sql(str):
    """Text that goes into a query as it is."""


def _label_tasks(entries: list[dict[str, Any]]) -> _Sql | None:
    pairs = [
        f"({sql_literal(label)}, {sql_literal(entry['task'])})"
        for entry in entries
        for label in entry.get("labels", [])
        if "task" in entry
    ]
    return _Sql(f"(VALUES {', '.join(pairs)})") if pairs else None


def _others(entry: dict[str, Any], entries: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {
        f"other_{key}": [item for other in entries if other is not entry for item in other[key]]
        for key, value in entry.items()
        if isinstance(value, list) and all(isinstance(other.get(key), list) for other in entries)
    }


def _task(
    entry: dict[str, Any], queries: dict[str, str], common: dict[str, Any], where: str
) -> TaskSpec:
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
    return TaskSpec(str(entry["task"]), bound)


def _bind(query: str, values: dict[str, Any], where: str) -> str:
    """The query with every `$name` replaced by its value as an SQL literal."""

    def literal(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise StreamError(f"{where}: the query names ${match[1]}, which has no value")
        return sql_literal(values[match[1]])

    return _PARAMETER.sub(literal, query).strip()


def sql_literal(value: Any) -> str:
    """A TOML value as an SQL literal, quotes doubled."""
    if isinstance(value, _Sql):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(sql_literal(item) for item in value) + "]"
    return "'" + str(value).replace("'", "''") + "'"
