"""Task streams by name: shipped ones, a person's own TOML, and those made by parameters."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from avstore.datasets import registry
from avstore.manifests.generated_streams import class_incremental, domain_incremental
from avstore.manifests.streams import Stream, StreamError, Task, from_table

_NOT_LEAKING = """SELECT clip_id FROM ({query}
) WHERE clip_id NOT IN (SELECT clip_id FROM leaking_clips)"""


def load_stream(name: str | Path, /, **overrides: Any) -> Stream:
    """A shipped stream by name, or one from a TOML file; `overrides` replace its parameters.

    Beside what avstore.manifests.streams reads, a TOML may have: `extends`, another stream's name,
    whose keys it takes over; `[generate]`, the parameters of a stream to make; tasks with `from =
    "stream:task"`; `drop_leaking = true`, which leaves out of training what is evaluated
    elsewhere. Raises StreamError, or LookupError for a name that is not shipped.
    """
    table = {**_table(str(name)), **overrides}
    if generate := table.get("generate"):
        made = _generated(str(table["name"]), generate)
        return replace(made, title=str(table.get("title", made.title)))
    tasks = table.get("tasks", [])
    if any("from" in task for task in tasks):
        return _composed(table, tasks, str(name))
    return from_table(table, f"stream {str(name)!r}")


def _table(name: str) -> dict[str, Any]:
    text = _text(name)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StreamError(f"stream {name!r} is not TOML: {error}") from error
    base = table.pop("extends", None)
    return {**_table(str(base)), **table} if base else table


def _text(name: str) -> str:
    if not name.endswith(".toml"):
        return registry.stream_text(name)
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StreamError(f"stream {name} cannot be read: {error}") from error


def _generated(name: str, parameters: dict[str, Any]) -> Stream:
    given = dict(parameters)
    kind = given.pop("kind", None)
    try:
        if kind == "class-incremental":
            labels = registry.get(given["dataset"]).vocabulary()
            ids = [label.label_id for label in labels]
            return class_incremental(name, label_ids=ids, **given)
        if kind == "domain-incremental":
            return domain_incremental(name, **given)
    except (TypeError, KeyError) as error:
        raise StreamError(f"stream {name!r}: [generate] has a key wrong: {error}") from error
    raise StreamError(
        f"stream {name!r}: kind {kind!r} is not 'class-incremental' or 'domain-incremental'"
    )


def _composed(table: dict[str, Any], entries: list[dict[str, Any]], where: str) -> Stream:
    tasks = []
    for entry in entries:
        source, _, task_name = str(entry.get("from", "")).partition(":")
        found = {task.task: task for task in load_stream(source).tasks}.get(task_name)
        if found is None:
            raise StreamError(f"stream {where!r}: there is no task {entry.get('from')!r}")
        tasks.append(Task(str(entry.get("task", task_name)), dict(found.queries)))
    if table.get("drop_leaking"):
        for task in tasks:
            task.queries["train"] = _NOT_LEAKING.format(query=task.queries["train"])
    return Stream(
        name=str(table["name"]),
        title=str(table.get("title", table["name"])),
        dataset=None,
        tasks=tuple(tasks),
        fidelity=str(table.get("fidelity", "strict")),
        notes=str(table.get("notes", "")),
    )
