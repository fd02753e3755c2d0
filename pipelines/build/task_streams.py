"""Load task streams: shipped ones by name, TOML files, and streams generated from parameters."""

import csv
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from avstore.datasets import registry
from avstore.manifests.filled_streams import one_task_queries
from avstore.manifests.foreign_files import read_toml
from avstore.manifests.generated_streams import class_incremental, domain_incremental, video_groups
from avstore.manifests.store import Store
from avstore.manifests.streams import StreamError, StreamSpec, TaskSpec, check_table, from_table

_NOT_LEAKING = """SELECT clip_id FROM ({query}
) WHERE clip_id NOT IN (SELECT clip_id FROM leaking_clips)"""

# Streams that extend each other in a circle end here.
_MAX_EXTENDS = 8


def load_stream(name: str | Path, /, *, store: Store | None = None, **overrides: Any) -> StreamSpec:
    """Load a task stream.

    Besides the keys that `avstore.manifests.streams` reads, a TOML file may have: `extends`, the
    name of a stream whose keys it inherits; `[generate]`, the parameters of a generated stream;
    tasks with `from = "stream:task"`; and `drop_leaking = true`, which removes clips from
    training that another task evaluates.

    Args:
        name: A shipped stream, or the path of a TOML file.
        store: The store whose own datasets `[generate]` may name.
        **overrides: Values that replace top-level keys of the stream.

    Raises:
        StreamError: The file cannot be read or a key is wrong.
        LookupError: No shipped stream has that name.
    """
    table = {**_table(str(name)), **overrides}
    check_table(table, f"stream {str(name)!r}")
    if generate := table.get("generate"):
        folder = Path(name).parent
        stream = _generated(str(table["name"]), generate, store, folder)
        return replace(stream, title=str(table.get("title", stream.title)))
    tasks = table.get("tasks", [])
    if any("from" in task for task in tasks):
        return _composed(table, tasks, str(name))
    return from_table(table, f"stream {str(name)!r}")


def one_task_stream(dataset: str) -> StreamSpec:
    """Return the stream of a user's own dataset: one task, of the dataset's name.

    It trains on the split `train` and is evaluated on all others, or on `train` if there is none.
    """
    table = {
        "name": dataset,
        "title": f"All clips of {dataset} in one task",
        "dataset": dataset,
        "tasks": [{"task": dataset}],
        "queries": one_task_queries(dataset),
    }
    return from_table(table, f"stream {dataset!r}")


def _table(name: str, depth: int = 0) -> dict[str, Any]:
    try:
        if name.endswith(".toml"):
            table = read_toml(Path(name))
        else:
            table = tomllib.loads(registry.stream_text(name))
    except OSError as error:
        raise StreamError(f"stream {name} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise StreamError(f"stream {name!r} is not TOML: {error}") from error
    base = table.pop("extends", None)
    if base is None:
        return table
    if depth == _MAX_EXTENDS or not isinstance(base, str):
        raise StreamError(f"stream {name!r} extends {base!r}, which leads back to it or is no name")
    return {**_table(base, depth + 1), **table}


def _generated(
    name: str, parameters: dict[str, Any], store: Store | None, folder: Path
) -> StreamSpec:
    parameters = dict(parameters)
    kind = parameters.pop("kind", None)
    try:
        if kind == "class-incremental":
            ids = _label_ids(parameters["dataset"], store)
            return class_incremental(name, label_ids=ids, **parameters)
        if kind == "domain-incremental":
            return domain_incremental(name, **parameters)
        if kind == "video-groups":
            if missing := {"dataset", "table"} - parameters.keys():
                raise StreamError(f"stream {name!r}: [generate] lacks {', '.join(sorted(missing))}")
            groups = read_groups(folder / str(parameters.pop("table")))
            _label_ids(parameters["dataset"], store)  # it exists
            return video_groups(name, groups, **parameters)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise StreamError(f"stream {name!r}: [generate] has a wrong key: {error}") from error
    raise StreamError(
        f"stream {name!r}: kind={kind!r} is not one of 'class-incremental', 'domain-incremental', "
        "'video-groups'"
    )


def read_groups(path: Path) -> dict[str, list[str]]:
    """Return the source videos of each group, in order of the groups' names.

    Args:
        path: A CSV with the columns `source_id` and `group`.

    Raises:
        StreamError: The file cannot be read, lacks a column or a value, or names a video twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a BOM
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StreamError(f"{path} cannot be read as CSV: {error}") from error
    if missing := [name for name in ("source_id", "group") if name not in columns]:
        raise StreamError(
            f"{path}: the first line {','.join(columns)[:80]!r} does not name "
            f"{' and '.join(missing)}; write source_id,group above the rows"
        )
    groups: dict[str, list[str]] = {}
    seen: dict[str, int] = {}
    for line, row in enumerate(rows, start=2):
        video, group = row.get("source_id"), row.get("group")
        if not video or not group:
            raise StreamError(f"{path}, line {line}: a row needs source_id and group")
        if video in seen:
            raise StreamError(f"{path}, line {line}: {video!r} is in line {seen[video]} too")
        seen[video] = line
        groups.setdefault(group, []).append(video)
    return {group: groups[group] for group in sorted(groups)}


def _label_ids(dataset: str, store: Store | None) -> list[int]:
    """Return the label ids of a dataset, which may be a user's own one in the store."""
    from avstore.pipelines.build.own_data import stored_spec  # noqa: PLC0415 -- brings the decoders

    try:
        spec = registry.get(dataset)
    except LookupError:
        own = stored_spec(store, dataset) if store else None
        if own is None:
            raise
        spec = own
    return [label.label_id for label in spec.vocabulary()]


def _composed(table: dict[str, Any], entries: list[dict[str, Any]], where: str) -> StreamSpec:
    """Return a stream whose tasks are taken from other streams."""
    tasks = []
    for entry in entries:
        source, _, task_name = str(entry.get("from", "")).partition(":")
        by_name = {task.task: task for task in load_stream(source).tasks}
        if task_name not in by_name:
            raise StreamError(
                f"stream {where!r}: from = {entry.get('from')!r} names no task; write 'stream:task'"
            )
        taken = by_name[task_name]
        name = str(entry.get("task", task_name))
        tasks.append(TaskSpec(name, dict(taken.queries), taken.classes))
    if table.get("drop_leaking"):
        for task in tasks:
            task.queries["train"] = _NOT_LEAKING.format(query=task.queries["train"])
    return StreamSpec(
        name=str(table["name"]),
        title=str(table.get("title", table["name"])),
        dataset=None,
        tasks=tuple(tasks),
        fidelity=str(table.get("fidelity", "strict")),
        notes=str(table.get("notes", "")),
    )
