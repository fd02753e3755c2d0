"""Write lists for STELLA and FLAVA, with the file names and folders that their code opens.

The export folder is the one that their settings call `home_data_path`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError, write_text
from avstore.manifests.streams import StreamSpec, sql_literal
from avstore.pipelines.interchange.class_lists import (
    ClassRow,
    csv_text,
    dataset_classes,
    one_dataset,
    require_labels,
    write_class_list,
)
from avstore.pipelines.interchange.export_clips import ExportClip, export_clips
from avstore.pipelines.interchange.layouts import FolderLayout

_ROLES = ("train", "eval", "retrieval")


@dataclass(frozen=True)
class StellaFiles:
    """The names of a dataset's lists.

    Attributes:
        root: Folder of lists and media, relative to the export folder.
        class_list: File name of the class list.
        lists: File name of a stream's list by role.
        categories: Whether lists and class list have the column `category`.
        by_task: Whether the class list is in the order of the tasks, else in that of the labels.
    """

    root: str
    class_list: str = "class_labels_indices.csv"
    lists: Mapping[str, str] = field(default_factory=lambda: {r: f"{r}.csv" for r in _ROLES})
    categories: bool = True
    by_task: bool = False


_OF_STREAM = {
    "vggsound": StellaFiles(
        "vggsound/data",
        "class_labels_indices_shrink8.csv",
        {
            "train": "vgg_train_cleaned_shrink8.csv",
            "eval": "vgg_test_cleaned_shrink8.csv",
            "retrieval": "vgg_test_5_per_class_for_retrieval_cleaned_shrink8.csv",
        },
        by_task=True,
    ),
    "audioset": StellaFiles(
        "AudioSet/data",
        "class_labels_indices_audioset.csv",
        {
            "train": "audioset_2m_cleaned.csv",
            "eval": "audioset_2m_eval_cleaned.csv",
            "retrieval": "audioset_2m_eval_5_per_class_for_retrieval_cleaned.csv",
        },
    ),
}
# AudioSet without a stream is the pre-training set AudioSet-20K, whose lists have no category.
_OF_DATASET = {"audioset": StellaFiles("AudioSet-20k/data", categories=False)}


def stella_files(dataset: str, stream: bool = False) -> StellaFiles:
    """Return the file names of a dataset's lists: of a task stream, or of the whole dataset."""
    names = _OF_STREAM if stream else _OF_DATASET
    return names.get(dataset, StellaFiles(f"{dataset}/data"))


def write_stella(
    store: OpenStore, clips: Sequence[ExportClip], out: Path, name: str, audio: str
) -> list[Path]:
    """Write a list of a dataset's clips, and the list of all its classes.

    `<name>.csv` has no header and the columns row index, vid, frames_path, wav, label (machine
    ids) and, except for AudioSet, the dataset's category.

    Args:
        store: The store.
        clips: The clips, in the order of the list.
        out: The export folder; paths in the list are relative to it.
        name: Stem of the list's file name.
        audio: Extension of the audio files.

    Returns:
        The paths of the written files.

    Raises:
        StoreError: The query has a column `task`, a clip has no label, or the clips are of
            several datasets.
    """
    if any("task" in clip.row for clip in clips):
        raise StoreError(
            "the query has a column task, and the tasks and classes of one query are not those of "
            "its stream: pass --stream NAME, which writes all of its lists"
        )
    require_labels(clips)
    dataset = one_dataset(clips)
    files = stella_files(dataset)
    rows = [_row(index, clip, files, audio, clip.category) for index, clip in enumerate(clips)]
    path = out / files.root / files.class_list
    return [
        write_class_list(path, dataset_classes(store, dataset), files.categories),
        write_text(out / files.root / f"{name}.csv", csv_text(rows)),
    ]


def write_stella_stream(
    store: OpenStore, stream: StreamSpec, out: Path, audio: str, sql: str | None = None
) -> tuple[list[Path], list[ExportClip]]:
    """Write the lists of a task stream's roles, and the list of all its classes.

    The category is the task. Labels are those of the stream's classes; in the list for retrieval,
    which also has other classes, they are all of the clip's labels.

    Args:
        store: The store; the stream is registered in it.
        stream: The stream; its tasks list their classes.
        out: The export folder.
        audio: Extension of the audio files.
        sql: A query with a column clip_id; other clips are left out.

    Returns:
        The paths of the written files, and the clips of all lists.

    Raises:
        StoreError: The stream has no stored clip or does not list its classes, or the folder has
            the lists of other classes.
    """
    chosen = {clip.clip_id for clip in export_clips(store, sql)} if sql else None
    by_role = {role: _clips(store, stream.name, role, chosen) for role in _ROLES}
    listed = [clip for clips in by_role.values() for clip in clips]
    if not listed:
        raise StoreError(
            f"the store has no stored clip of the stream {stream.name!r}; build its clips from "
            "their videos first (avstore build DATASET --source …), or choose another stream: "
            "avstore tasks check STREAM shows how many clips of each are stored"
        )
    dataset = one_dataset(listed)
    files = stella_files(dataset, stream=True)
    classes = _stream_classes(store, stream, dataset, files)
    mids = {each.mid for each in classes}
    folder = out / files.root
    written = [write_class_list(folder / files.class_list, classes, files.categories)]
    for role, clips in by_role.items():
        kept = clips if role == "retrieval" else [_of_classes(clip, mids) for clip in clips]
        require_labels(kept)
        rows = [_row(index, clip, files, audio, clip.task) for index, clip in enumerate(kept)]
        if rows:
            written.append(write_text(folder / files.lists[role], csv_text(rows)))
    return written, list({clip.clip_id: clip for clip in listed}.values())


def _clips(store: OpenStore, stream: str, role: str, chosen: set[str] | None) -> list[ExportClip]:
    """Return a role's clips, by task and the order of the annotation files."""
    select = (
        "SELECT t.clip_id, t.task FROM task_clips t JOIN clips c USING (clip_id) "
        f"WHERE t.stream = {sql_literal(stream)} AND t.role = {sql_literal(role)} "
        "ORDER BY t.position, c.position"
    )
    if not store.query(select).table.num_rows:
        return []
    clips = export_clips(store, select)
    return [clip for clip in clips if chosen is None or clip.clip_id in chosen]


def _stream_classes(
    store: OpenStore, stream: StreamSpec, dataset: str, files: StellaFiles
) -> list[ClassRow]:
    """Return the classes of all tasks, each with its task as category."""
    labels = store.query(
        "SELECT label_id, label FROM labels WHERE dataset = $dataset", {"dataset": dataset}
    ).rows()
    ids = {row["label"]: row["label_id"] for row in labels}
    tasks = {ids.get(each, each): task.task for task in stream.tasks for each in task.classes}
    if not all(task.classes for task in stream.tasks):
        raise StoreError(
            f"the stream {stream.name!r} does not list the classes of its tasks (keys 'labels' or "
            "'classes'), and this format needs them"
        )
    places = {task.task: place for place, task in enumerate(stream.tasks)}
    found = [
        replace(each, category=tasks[each.label_id])
        for each in dataset_classes(store, dataset)
        if each.label_id in tasks
    ]
    return sorted(found, key=lambda each: places[each.category]) if files.by_task else found


def _of_classes(clip: ExportClip, mids: set[str]) -> ExportClip:
    return replace(clip, mids=tuple(mid for mid in clip.mids if mid in mids))


def _row(
    index: int, clip: ExportClip, files: StellaFiles, audio: str, category: str | None
) -> list[object]:
    layout = FolderLayout("stella", audio, files.root)
    labels = ",".join(clip.mids)
    row = [index, clip.source_id, layout.frames(clip), layout.audio_path(clip), labels]
    return [*row, category or ""] if files.categories else row
