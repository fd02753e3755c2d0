"""A task stream from the manifest: which clips each task trains on and is tried on."""

from dataclasses import dataclass

from manifests.store import StoreError
from train.data import SampleList, Store, sample_list

_CLIPS = "SELECT clip_id FROM task_clips WHERE stream = ? AND task = ? AND role = ?"


@dataclass(frozen=True)
class TaskData:
    """One task: its training samples, and its part of the retrieval gallery."""

    name: str
    train: SampleList
    gallery: SampleList


def stream_names(store: Store) -> list[str]:
    """Streams of the store all of whose tasks have clips to train on, in order of name."""
    rows = store.query(
        """
        SELECT t.stream FROM (SELECT DISTINCT stream, task FROM tasks WHERE role = 'train') t
        LEFT JOIN (SELECT DISTINCT stream, task FROM task_clips WHERE role = 'train') c
        USING (stream, task)
        GROUP BY t.stream HAVING count(*) = count(c.task) ORDER BY t.stream
        """
    )
    return [str(value) for value in rows.column("stream").to_pylist()]


def load_stream(store: Store, stream: str | None) -> tuple[str, list[TaskData]]:
    """The stream of this name, or the store's first. Raises StoreError listing what there is."""
    names = stream_names(store)
    if stream is None and names:
        stream = names[0]
    if stream not in names:
        known = ", ".join(names) or "none: build a dataset that has a task stream"
        raise StoreError(
            f"no task stream {stream or ''} with clips in every task in {store.root} "
            f"(there is {known})"
        )
    table = store.query(
        "SELECT task, min(position) AS position FROM tasks WHERE stream = ? AND role = 'train' "
        "GROUP BY task ORDER BY position",
        [stream],
    )
    return stream, [_task(store, stream, str(task)) for task in table.column("task").to_pylist()]


def _task(store: Store, stream: str, task: str) -> TaskData:
    train = sample_list(store, _CLIPS, [stream, task, "train"])
    return TaskData(task, train, sample_list(store, _CLIPS, [stream, task, "retrieval"]))
