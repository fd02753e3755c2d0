"""Load a run's task stream from the manifest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from avstore.datasets.registry import stream_names
from avstore.manifests import commands
from avstore.manifests.filled_streams import (
    StreamCount,
    count_splits,
    count_streams,
    one_task_queries,
)
from avstore.manifests.nearest import did_you_mean
from avstore.manifests.streams import sql_literal
from avstore.manifests.terminal import plural
from avstore.train.data import OpenStore, QuerySource, SampleList, sample_list, sources
from avstore.train.data.samples import SharedTable
from avstore.train.errors import UserError


@dataclass(frozen=True)
class Task:
    """One task of a stream.

    Attributes:
        name: The task's name.
        train: Clips to train on.
        evaluation: Clips to evaluate on.
    """

    name: str
    train: SampleList
    evaluation: SampleList


@dataclass(frozen=True)
class Stream:
    """Tasks in order.

    Attributes:
        name: The stream's name.
        tasks: Its tasks.
    """

    name: str
    tasks: tuple[Task, ...]

    @property
    def names(self) -> list[str]:
        """Names of the tasks, in order."""
        return [task.name for task in self.tasks]

    @property
    def fingerprints(self) -> list[str]:
        """A line a task by which a checkpoint notices changed clips."""
        return [f"{t.train.fingerprint} {t.evaluation.fingerprint}" for t in self.tasks]


def load_tasks(
    store: OpenStore,
    name: str | None,
    roles: tuple[str, ...] = ("retrieval", "eval"),
    features: Sequence[str] = (),
    segments: str | None = None,
    labels: str | None = None,
) -> Stream:
    """Load a stream by name, or the first one whose tasks all have clips.

    The name of a dataset without a stream of this name is all of it in one task.

    Args:
        store: The store.
        name: The stream's name.
        roles: Roles of the clips to evaluate on: the first that has any.
        features: Derived features that all clips need.
        segments: Modality of the segment labels, as `sample_list` takes it.
        labels: A label set, `<name>` or `<name>:<modality>`, whose labels replace the dataset's in
            evaluation; clips without a label in it are left out.

    Raises:
        UserError: The stream does not exist or lacks clips; the commands that work are listed. No
            clip to score has a label in the label set.
    """
    with store.connect() as con:
        counts, splits = count_streams(con), count_splits(con)
    filled = [stream for stream, count in counts.items() if not count.empty]
    if name is None and not filled:
        raise UserError(_advice(store, "no stream has clips for all of its tasks", counts, splits))
    chosen = name or filled[0]
    if chosen in counts:
        if empty := counts[chosen].empty:
            what = f"stream {chosen!r} has no stored clips to train or evaluate on for: "
            raise UserError(_advice(store, what + ", ".join(empty), counts, splits))
        queries = _task_queries(chosen, counts[chosen], roles)
    elif splits.get(chosen, (0, 0))[0]:
        one = one_task_queries(chosen)
        queries = {chosen: (one["train"], one["eval"])}
    else:
        hint = did_you_mean(chosen, [*counts, *splits])
        if chosen in stream_names():
            command = commands.avstore("tasks", "add", chosen, store=store.url)
            hint = f" in this store; add it: {command}"
        raise UserError(_advice(store, f"no stream {chosen!r}{hint}", counts, splits))
    options: dict[str, Any] = {"features": features, "segments": segments}
    tasks = []
    for task, (train, scored) in queries.items():
        trained = sample_list(store, train, **options)
        if labels is not None and not (scored := _labelled(store, scored, labels)):
            tasks.append(Task(task, trained, _none_of(trained)))
        else:
            tasks.append(Task(task, trained, sample_list(store, scored, **options)))
    if not any(len(task.evaluation) for task in tasks):
        raise UserError(_no_label(store, labels or ""))
    return Stream(chosen, tuple(tasks))


def _task_queries(
    stream: str, count: StreamCount, roles: tuple[str, ...]
) -> dict[str, tuple[str, str]]:
    """Return the queries of each task's clips: to train on, and to score."""
    found = {}
    for position, clips in sorted(count.clips.items()):
        role = next((role for role in roles if clips.get(role)), roles[-1])
        sql = (
            f"SELECT clip_id FROM task_clips WHERE stream = {sql_literal(stream)} "
            f"AND position = {position} AND role = "
        )
        found[count.tasks[position]] = (sql + sql_literal("train"), sql + sql_literal(role))
    return found


def role_clips(
    store: OpenStore, stream: str, roles: tuple[str, ...], features: Sequence[str] = ()
) -> SampleList:
    """Return all clips of a stream in one list, of the first role that has any.

    Args:
        store: The store.
        stream: The stream's name.
        roles: Roles to try, in order.
        features: Derived features that all clips need.
    """
    sql = "SELECT clip_id FROM task_clips WHERE stream = ? AND role = ?"
    params: list[str] = []
    if _is_registered(store, stream):
        params = [stream, _filled_role(store, stream, roles)]
    else:
        sql = one_task_queries(stream)["train" if "train" in roles else "eval"]
    return sample_list(store, sql, params, features=features)


def _filled_role(store: OpenStore, stream: str, roles: tuple[str, ...]) -> str:
    """Return the first role that has stored clips, else the first."""
    sql = (
        "SELECT count(*) AS n FROM task_clips JOIN samples USING (clip_id) "
        "WHERE stream = ? AND role = ?"
    )
    filled = [role for role in roles if store.query(sql, [stream, role]).rows()[0]["n"]]
    return (filled or roles)[0]


def _labelled(store: OpenStore, sql: str, labels: str) -> str:
    """Return the query of the clips that have a label in a label set; "" if there are none."""
    name, _, modality = labels.partition(":")
    sql = (
        f"SELECT clip_id, label_ids FROM ({sql}) JOIN label_sets USING (clip_id) WHERE label_set = "
        f"{sql_literal(name)} AND modality = {sql_literal(modality or 'any')}"
    )
    return sql if store.query(sql).table.num_rows else ""


def _none_of(samples: SampleList) -> SampleList:
    """Return the list without its clips."""
    return replace(samples, columns=SharedTable(samples.table.slice(0, 0)))


def _no_label(store: OpenStore, labels: str) -> str:
    rows = store.query("SELECT DISTINCT label_set, modality FROM label_sets ORDER BY ALL").rows()
    known = ", ".join(f"{row['label_set']}:{row['modality']}" for row in rows) or "none"
    return f"no clip to score has a label in the label set {labels!r}; the store has {known}"


def training_parts(
    store: OpenStore,
    stream: Stream,
    *,
    together: bool = False,
    features: Sequence[str] = (),
    segments: str | None = None,
) -> tuple[SampleList, tuple[QuerySource, ...]]:
    """Return the training clips of a stream in one list, and the part of each task.

    Args:
        store: The store.
        stream: The stream.
        together: Whether all clips are one task, named "joint".
        features: Derived features that all clips need.
        segments: Modality of the segment labels, as `sample_list` takes it.
    """
    if not _is_registered(store, stream.name):
        queries = {stream.name: one_task_queries(stream.name)["train"]}
    else:
        queries = {
            task.name: "SELECT clip_id FROM task_clips WHERE role = 'train' "
            f"AND stream = {sql_literal(stream.name)} AND task = {sql_literal(task.name)}"
            for task in stream.tasks
        }
    if together:
        queries = {"joint": " UNION ALL ".join(f"({sql})" for sql in queries.values())}
    return sources(store, queries, features=features, segments=segments)


def _is_registered(store: OpenStore, stream: str) -> bool:
    return bool(store.query("SELECT 1 FROM tasks WHERE stream = ? LIMIT 1", [stream]).rows())


def _advice(
    store: OpenStore,
    problem: str,
    counts: dict[str, StreamCount],
    splits: dict[str, tuple[int, int]],
) -> str:
    """Return a problem with the streams that can be trained, each as a command."""
    usable = {
        stream: plural(len(count.tasks), "task")
        for stream, count in counts.items()
        if not count.empty
    }
    for dataset, (train, others) in splits.items():
        if train and dataset not in counts:
            usable[dataset] = f"one task, {train:,} training clips and {others:,} others"
    root = store.url
    lines = [f"  {commands.train(root, '--stream', name)}" for name in usable]
    notes = "; ".join(f"{name} ({what})" for name, what in usable.items())
    if not usable:
        return f"{problem}; {root} has no stored clip in a split train, so build some first"
    return "\n".join([f"{problem}; these can be trained: {notes}", *lines])
