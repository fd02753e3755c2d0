"""Parse task streams: a TOML file of ordered tasks with parameterised queries, to plain SQL."""

import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from avstore.manifests.names import is_name
from avstore.manifests.store import StoreError

_TYPES: dict[str, type] = {
    **dict.fromkeys(("name", "title", "dataset", "fidelity", "source", "notes"), str),
    "seed": int,
    "queries": dict,
    "generate": dict,
    "tasks": list,
}
_KINDS = {str: "text", int: "number", dict: "table", list: "list of tables"}
ROLES = ("train", "val", "eval", "retrieval")
_PARAMETER = re.compile(r"\$([a-z_]+)")
_HEAD = {"name", "title", "dataset", "fidelity", "seed", "source", "notes", "queries", "tasks"}


class StreamError(StoreError):
    """A task stream that cannot be used."""


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task of a stream.

    Attributes:
        task: Name of the task.
        queries: SQL by role (train, val, eval, retrieval); each returns a column `clip_id`.
        classes: Names (key `labels`) or label ids (key `classes`) of the task's classes, if the
            stream lists them.
    """

    task: str
    queries: dict[str, str]
    classes: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class StreamSpec:
    """An ordered list of tasks.

    Attributes:
        name: Name of the stream.
        title: Title for people.
        dataset: Dataset of all tasks, or None.
        tasks: The tasks in order.
        fidelity: `strict` or `published` (docs/architecture.md, "Fidelity").
        seed: Seed of random choices in the queries.
        source: Where the stream was published.
        notes: Free text.
        parameters: Other top-level keys, available to the queries as `$name`.
    """

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
    """Parse a stream from TOML.

    Args:
        text: The TOML document.
        where: Its name in error messages.

    Raises:
        StreamError: The TOML is invalid or a key is missing.
    """
    try:
        return from_table(tomllib.loads(text), where)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise StreamError(f"{where} is not TOML: {error}") from error


def from_table(table: dict[str, Any], where: str) -> StreamSpec:
    """Build a stream from parsed TOML. Unknown top-level keys become parameters.

    `[queries]` holds SQL by role. In it, `$name` is replaced by the task's value of that name, or
    the stream's. A task may override a query in its own `queries`. For every list of a task,
    `$other_<list>` holds the items of all other tasks; `$label_tasks` is a relation (label, task)
    of all tasks' `labels`.

    Args:
        table: The parsed TOML.
        where: Its name in error messages.

    Raises:
        StreamError: A key is missing, a role is unknown, a task is listed twice, or a query names
            a parameter without a value.
    """
    missing = {"name", "tasks"} - table.keys()
    if missing:
        raise StreamError(f"{where}: the key {sorted(missing)[0]!r} is missing")
    check_table(table, where)
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
        raise StreamError(f"{where}: the task {twice!r} is listed twice")
    own = {key: table[key] for key in _HEAD & table.keys() - {"queries", "tasks"}}
    return StreamSpec(
        **{"title": own["name"], "dataset": None, **own}, tasks=tasks, parameters=parameters
    )


def check_table(table: dict[str, Any], where: str) -> None:
    """Check the types of the keys that a stream's TOML has, and its name.

    Raises:
        StreamError: A key has another type, or the name cannot be part of a file name.
    """
    for key, kind in _TYPES.items():
        if not isinstance(table.get(key, kind()), kind):
            raise StreamError(f"{where}: {key} is not a {_KINDS[kind]}")
    if "name" in table and not is_name("stream", table["name"]):
        name = table["name"][:80]
        raise StreamError(f"{where}: name = {name!r} is not up to 100 letters, digits, - _ and .")
    entries = table.get("tasks", [])
    if not all(isinstance(entry, dict) for entry in entries):
        raise StreamError(f"{where}: tasks is not a list of tables")
    for queries in (table.get("queries", {}), *(entry.get("queries", {}) for entry in entries)):
        if not isinstance(queries, dict) or not all(isinstance(q, str) for q in queries.values()):
            raise StreamError(f"{where}: queries is not a table of SQL texts")
    if not all(isinstance(entry.get("labels", []), list) for entry in entries):
        raise StreamError(f"{where}: the labels of a task are not a list")


class _Sql(str):
    """SQL text that is inserted without quoting."""


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
    classes = tuple(entry.get("labels") or entry.get("classes") or ())
    return TaskSpec(str(entry["task"]), bound, classes)


def _bind(query: str, values: dict[str, Any], where: str) -> str:
    """Replace every `$name` in a query by its value as an SQL literal."""

    def literal(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise StreamError(f"{where}: the query names ${match[1]}, which has no value")
        return sql_literal(values[match[1]])

    return _PARAMETER.sub(literal, query).strip()


def sql_literal(value: Any) -> str:
    """Return a TOML value as an SQL literal, with quotes doubled."""
    if isinstance(value, _Sql):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(sql_literal(item) for item in value) + "]"
    return "'" + str(value).replace("'", "''") + "'"
