"""Load a run's task stream from the manifest."""

from dataclasses import dataclass

from avstore.train.data import OpenStore, SampleList, sample_list
from avstore.train.errors import UserError

_CLIPS = "SELECT clip_id FROM task_clips WHERE stream = ? AND position = ? AND role = ?"
_COUNTS = """
SELECT t.stream, t.position, any_value(t.task) AS task, t.role,
       count(DISTINCT s.clip_id) AS clips
FROM (SELECT DISTINCT stream, position, task, role FROM tasks) t
LEFT JOIN task_clips c USING (stream, position, role)
LEFT JOIN samples s ON s.clip_id = c.clip_id
GROUP BY ALL ORDER BY t.stream, t.position, t.role
"""


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


def load_tasks(store: OpenStore, name: str | None) -> Stream:
    """Load a stream by name, or the first one whose tasks all have clips.

    Tasks are evaluated on their role `retrieval` if it has clips, else on `eval`.

    Raises:
        UserError: The stream does not exist or lacks clips; lists the streams that have some.
    """
    counts: dict[str, dict[int, dict[str, int]]] = {}
    titles: dict[tuple[str, int], str] = {}
    for row in store.query(_COUNTS).rows():
        roles = counts.setdefault(row["stream"], {}).setdefault(row["position"], {})
        roles[row["role"]] = row["clips"]
        titles[row["stream"], row["position"]] = row["task"]
    full = [stream for stream, tasks in counts.items() if all(map(_usable, tasks.values()))]
    if not counts:
        raise UserError(f"{store.root} has no task streams; register one with avstore tasks add")
    if name is None and not full:
        raise UserError(
            f"no stream has clips for all of its tasks: {_listing(counts)}; build the missing "
            "clips (avstore tasks check STREAM names them), or add a stream over the stored ones "
            "(avstore tasks add mine.toml, docs/datasets.md)"
        )
    chosen = name or full[0]
    if chosen not in counts:
        raise UserError(f"no stream {chosen!r} in {store.root}; there are: {_listing(counts)}")
    if chosen not in full:
        empty = [titles[chosen, p] for p, roles in counts[chosen].items() if not _usable(roles)]
        raise UserError(
            f"stream {chosen!r} has no stored clips to train or evaluate on for: "
            f"{', '.join(empty)}; build them first, or choose another stream: {_listing(counts)}"
        )
    tasks = []
    for position, roles in sorted(counts[chosen].items()):
        role = "retrieval" if roles.get("retrieval") else "eval"
        tasks.append(
            Task(
                titles[chosen, position],
                sample_list(store, _CLIPS, [chosen, position, "train"]),
                sample_list(store, _CLIPS, [chosen, position, role]),
            )
        )
    return Stream(chosen, tuple(tasks))


def role_clips(
    store: OpenStore, stream: str, roles: tuple[str, ...], segments: str | None = None
) -> SampleList:
    """Return all clips of a stream in one list, of the first role that has any.

    Args:
        store: The store.
        stream: The stream's name.
        roles: Roles to try, in order.
        segments: Modality of the segment labels, as `sample_list` takes it.
    """
    sql = "SELECT clip_id FROM task_clips WHERE stream = ? AND role = ?"
    counted = f"SELECT count(*) AS n FROM ({sql}) JOIN samples USING (clip_id)"
    filled = [r for r in roles if store.query(counted, [stream, r]).rows()[0]["n"]]
    return sample_list(store, sql, [stream, (filled or roles)[0]], segments=segments)


def union(store: OpenStore, stream: Stream) -> SampleList:
    """Return all training clips of a stream in one list."""
    sql = "SELECT clip_id FROM task_clips WHERE stream = ? AND role = 'train'"
    return sample_list(store, sql, [stream.name])


def _usable(roles: dict[str, int]) -> bool:
    return bool(roles.get("train")) and bool(roles.get("retrieval") or roles.get("eval"))


def _listing(counts: dict[str, dict[int, dict[str, int]]]) -> str:
    parts = []
    for stream, tasks in counts.items():
        usable = sum(_usable(roles) for roles in tasks.values())
        if usable:
            parts.append(f"{stream} ({usable} of {len(tasks)} tasks have clips)")
    return ", ".join(parts) or "no stream has clips"
