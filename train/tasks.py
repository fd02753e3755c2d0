"""Load a run's task stream from the manifest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

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
from avstore.manifests.task_report import of_published, registered_queries
from avstore.manifests.terminal import plural
from avstore.train.data import OpenStore, QuerySource, SampleList, sample_list, sources
from avstore.train.data.shared_table import SharedTable
from avstore.train.errors import UserError


@dataclass(frozen=True)
class Task:
    """One task of a stream.

    Attributes:
        name: The task's name.
        train: Clips to train on.
        evaluation: Clips to evaluate on.
        validation: Clips to select weights by, if they are others.
        published: Number of published clips by role: train, eval, val.
    """

    name: str
    train: SampleList
    evaluation: SampleList
    validation: SampleList | None = None
    published: Mapping[str, int] = field(default_factory=dict)

    @property
    def clips(self) -> dict[str, SampleList]:
        """The lists by role: train, val if there is one, eval."""
        known = {"train": self.train, "val": self.validation, "eval": self.evaluation}
        return {role: clips for role, clips in known.items() if clips is not None}


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
        return [
            " ".join(clips.fingerprint for clips in (t.train, t.evaluation, t.validation) if clips)
            for t in self.tasks
        ]

    @property
    def left_out(self) -> str:
        """Which published clips of the stream the run does not use; "" if there are none."""
        words = {"train": "to train on", "val": "to select by", "eval": "to evaluate on"}
        used, published = Counter[str](), Counter[str]()
        for task in self.tasks:
            used.update({role: len(clips) for role, clips in task.clips.items()})
            published.update(task.published)
        parts = [
            f"{count - used[role]:,} of {count:,} {words[role]}"
            for role, count in published.items()
            if count > used[role]
        ]
        if not parts:
            return ""
        why = "not stored, or without a feature or label that the run reads"
        return f"left out ({why}): {', '.join(parts)}"

    @property
    def validated(self) -> "Stream":
        """The stream with the clips to select weights by in place of those to evaluate on."""
        tasks = [replace(t, evaluation=t.validation or t.evaluation) for t in self.tasks]
        return replace(self, tasks=tuple(tasks))


@dataclass(frozen=True)
class Wanted:
    """What a run needs of the clips of a stream.

    Attributes:
        roles: Roles of the clips to evaluate on: the first that has any.
        features: Derived features of the clips to evaluate on; those that lack one are left out.
        segments: Segment labels of the clips to evaluate on, as `sample_list` takes them.
        train_features: Derived features of the clips to train on.
        train_segments: Those of the clips to train on; None for clips that may lack them.
        labels: A label set, `<name>` or `<name>:<modality>`, whose labels replace the dataset's in
            evaluation; clips without a label in it are left out.
        media: Whether pictures or sound are read; clips with imported features alone are left out.
        validate: Whether weights are selected by the clips of the role `val`.
        command: Words of train/evaluate.py that errors advise, beside store and stream; None for
            train/run.py.
    """

    roles: tuple[str, ...] = ("retrieval", "eval")
    features: tuple[str, ...] = ()
    segments: str | None = None
    train_features: tuple[str, ...] = ()
    train_segments: str | None = None
    labels: str | None = None
    media: bool = False
    validate: bool = False
    command: tuple[str, ...] | None = None


def load_tasks(store: OpenStore, name: str | None, wanted: Wanted | None = None) -> Stream:
    """Load a stream by name, or the first one whose tasks all have clips.

    The name of a dataset without a stream of this name is all of it in one task.

    Args:
        store: The store.
        name: The stream's name.
        wanted: What of it; by default clips for retrieval.

    Raises:
        UserError: The stream does not exist or lacks clips; the commands that work are listed. No
            clip to score has a label in the label set.
    """
    wanted = wanted or Wanted()
    chosen, queries = _find_stream(store, name, wanted)
    stream = Stream(chosen, tuple(_task(store, *found, wanted) for found in queries.items()))
    if not any(len(task.evaluation) for task in stream.tasks):
        raise UserError(_no_label(store, wanted.labels or ""))
    return stream


@dataclass(frozen=True)
class _Part:
    """The clips of one role of a task.

    Attributes:
        sql: Query of its stored clips.
        query: The stream's own query, of `stored_clips`.
    """

    sql: str
    query: str


Parts = dict[str, _Part]


def _find_stream(
    store: OpenStore, name: str | None, wanted: Wanted
) -> tuple[str, dict[str, Parts]]:
    """Return the name of a stream, and its tasks' clips by role."""
    with store.connect() as con:
        counts, splits = count_streams(con), count_splits(con)
    filled = [stream for stream, count in counts.items() if not count.empty]
    advice = partial(_advice, store, wanted.command, counts, splits)
    if name is None and not filled:
        raise UserError(advice("no stream has clips for all of its tasks"))
    chosen = name or filled[0]
    if chosen in counts:
        if empty := counts[chosen].empty:
            what = f"stream {chosen!r} has no stored clips to train or evaluate on for: "
            raise UserError(advice(what + ", ".join(empty)))
        with store.connect() as con:
            rows = registered_queries(con, chosen)
        queries = {(position, role): query for position, _, role, query in rows}
        return chosen, _task_parts(chosen, counts[chosen], queries, wanted)
    if splits.get(chosen, (0, 0))[0]:
        return chosen, {chosen: _whole_dataset(chosen, wanted)}
    hint = did_you_mean(chosen, [*counts, *splits])
    if chosen in stream_names():
        command = commands.avstore("tasks", "add", chosen, store=store.url)
        hint = f" in this store; add it: {command}"
    raise UserError(advice(f"no stream {chosen!r}{hint}"))


def _task_parts(
    stream: str, count: StreamCount, queries: Mapping[tuple[int, str], str], wanted: Wanted
) -> dict[str, Parts]:
    """Return each task's clips, by role; `queries` are the stream's, by position and role."""
    found = {}
    for position, clips in sorted(count.clips.items()):
        task = count.tasks[position]
        scored = next((role for role in wanted.roles if clips.get(role)), wanted.roles[-1])
        chosen = {"train": "train", "eval": scored} | ({"val": "val"} if wanted.validate else {})
        if wanted.validate and not clips.get("val"):
            raise UserError(
                f"task {task} of stream {stream!r} has no stored clips of the role val; set "
                'select_on = "eval", or add the role to the stream (avstore tasks)'
            )
        found[task] = {
            role: _Part(
                f"SELECT clip_id FROM task_clips WHERE stream = {sql_literal(stream)} "
                f"AND position = {sql_literal(str(position))} AND role = {sql_literal(own)}",
                queries.get((position, own), "SELECT clip_id FROM clips WHERE false"),
            )
            for role, own in chosen.items()
        }
    return found


def _whole_dataset(dataset: str, wanted: Wanted) -> Parts:
    if wanted.validate:
        raise UserError(
            f"{dataset} in one task has no role val; give a stream that has it, or set "
            'select_on = "eval"'
        )
    return {role: _Part(sql, sql) for role, sql in one_task_queries(dataset).items()}


def _task(store: OpenStore, name: str, parts: Parts, wanted: Wanted) -> Task:
    """Return a task's clips."""
    listed = partial(sample_list, store, lacking="leave_out")
    train = listed(
        _with_media(parts["train"].sql, media=wanted.media),
        features=wanted.train_features,
        segments=wanted.train_segments,
    )

    def scored(sql: str) -> SampleList:
        if wanted.labels is not None and not (sql := _labelled(store, sql, wanted.labels)):
            return _none_of(train)
        sql = _with_media(sql, media=wanted.media)
        return listed(sql, features=wanted.features, segments=wanted.segments)

    return Task(
        name,
        train,
        scored(parts["eval"].sql),
        scored(parts["val"].sql) if "val" in parts else None,
        {role: _published(store, part.query) for role, part in parts.items()},
    )


def _with_media(sql: str, *, media: bool) -> str:
    """Return the query without clips that have imported features and no base shard."""
    if not media:
        return sql
    return f"SELECT * FROM ({sql}\n) WHERE clip_id IN (SELECT clip_id FROM samples)"


def _published(store: OpenStore, query: str) -> int:
    """Return the number of published clips of a stream's query."""
    sql = of_published(query)
    counted = store.query(f"SELECT count(DISTINCT clip_id) AS clips FROM ({sql}\n)")
    return int(counted.rows()[0]["clips"])


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
    return sample_list(store, sql, params, features=features, lacking="leave_out")


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
    return (
        f"no clip to score has a label in the label set {labels!r}; the store has {known}. "
        "Build with the set's file among the annotations to add one (avstore build --annotations)"
    )


def training_parts(
    store: OpenStore,
    stream: Stream,
    *,
    together: bool = False,
    features: Sequence[str] = (),
    segments: str | None = None,
    videos: bool = False,
    media: bool = False,
) -> tuple[SampleList, tuple[QuerySource, ...]]:
    """Return the training clips of a stream in one list, and the part of each task.

    Args:
        store: The store.
        stream: The stream.
        together: Whether all clips are one task, named "joint".
        features: Derived features; clips that lack one are left out.
        segments: Modality of the segment labels, as `sample_list` takes it.
        videos: Whether to keep which video a clip is cut from, as the column source_id.
        media: Whether pictures or sound are read, as in `Wanted`.
    """
    if not _is_registered(store, stream.name):
        queries = {stream.name: one_task_queries(stream.name)["train"]}
    else:
        queries = {
            task.name: "SELECT clip_id FROM task_clips WHERE role = 'train' "
            f"AND stream = {sql_literal(stream.name)} AND task = {sql_literal(task.name)}"
            for task in stream.tasks
        }
    queries = {name: _with_media(sql, media=media) for name, sql in queries.items()}
    if together:
        queries = {"joint": " UNION ALL ".join(f"({sql})" for sql in queries.values())}
    columns = ("source_id",) if videos else ()
    if videos:
        queries = {
            name: f"SELECT clip_id, clips.source_id FROM ({sql}\n) JOIN clips USING (clip_id)"
            for name, sql in queries.items()
        }
    wanted = {"features": features, "segments": segments, "columns": columns}
    return sources(store, queries, lacking="leave_out", **wanted)


def _is_registered(store: OpenStore, stream: str) -> bool:
    return bool(store.query("SELECT 1 FROM tasks WHERE stream = ? LIMIT 1", [stream]).rows())


def _advice(
    store: OpenStore,
    command: tuple[str, ...] | None,
    counts: dict[str, StreamCount],
    splits: dict[str, tuple[int, int]],
    problem: str,
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
    call = partial(commands.train, root)
    if command is not None:
        call = partial(commands.evaluate, root, *command)
    lines = [f"  {call('--stream', name)}" for name in usable]
    notes = "; ".join(f"{name} ({what})" for name, what in usable.items())
    if not usable:
        return f"{problem}; {root} has no stored clip in a split train, so build some first"
    return "\n".join([f"{problem}; these can be trained: {notes}", *lines])
