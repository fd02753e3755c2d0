"""Task streams: ordered tasks, each a query over the manifest, registered as rows of `tasks`."""

import tomllib
from dataclasses import dataclass

import duckdb

from manifests.store import StoreError

ROLES = ("train", "eval", "retrieval")


@dataclass(frozen=True)
class Task:
    """One role of one task: `query` returns the clip_ids."""

    position: int
    task: str
    role: str
    query: str


@dataclass(frozen=True)
class Stream:
    """An ordered list of tasks."""

    name: str
    title: str
    tasks: tuple[Task, ...]


def parse_stream(text: str) -> Stream:
    """A stream from its TOML: `name`, `title`, and [[task]] tables of `name` and a query a role.

    Raises StoreError where a key is missing or unknown.
    """
    try:
        data = tomllib.loads(text)
        name, title = data["name"], data.get("title", data["name"])
        entries = data["task"]
    except (tomllib.TOMLDecodeError, KeyError) as error:
        raise StoreError(f"a task stream cannot be read: {error}") from error
    tasks = []
    for position, entry in enumerate(entries):
        unknown = set(entry) - {"name", *ROLES}
        if unknown or "name" not in entry or "train" not in entry:
            raise StoreError(
                f"task {position} of stream {name} needs 'name' and 'train' and may have "
                f"{', '.join(ROLES[1:])}; it has {', '.join(sorted(entry))}"
            )
        tasks += [
            Task(position, entry["name"], role, entry[role].strip())
            for role in ROLES
            if role in entry
        ]
    return Stream(name, title, tuple(tasks))


def register(con: duckdb.DuckDBPyConnection, stream: Stream) -> None:
    """Put a stream's tasks into the manifest, in place of an older one of its name."""
    con.execute("DELETE FROM tasks WHERE stream = ?", [stream.name])
    for task in stream.tasks:
        con.execute(
            "INSERT INTO tasks VALUES (?, ?, ?, ?, ?)",
            [stream.name, task.position, task.task, task.role, task.query],
        )


def create_task_view(con: duckdb.DuckDBPyConnection) -> None:
    """(Re)make view task_clips(stream, position, task, role, clip_id) over all registered tasks."""
    rows = con.execute(
        "SELECT stream, position, task, role, query FROM tasks ORDER BY ALL"
    ).fetchall()
    parts = [
        f"SELECT DISTINCT {_text(stream)} AS stream, {position} AS position, {_text(task)} AS task,"
        f" {_text(role)} AS role, clip_id FROM ({query}\n)"
        for stream, position, task, role, query in rows
    ] or [
        "SELECT ''::VARCHAR AS stream, 0 AS position, ''::VARCHAR AS task, ''::VARCHAR AS role, "
        "''::VARCHAR AS clip_id WHERE false"
    ]
    con.execute("CREATE OR REPLACE VIEW task_clips AS " + "\nUNION ALL ".join(parts))


def _text(value: str) -> str:
    """A value as an SQL literal: a view cannot have bound parameters."""
    return "'" + value.replace("'", "''") + "'"
