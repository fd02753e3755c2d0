"""Write clip lists that published code reads: STELLA and FLAVA, CAV-MAE and UAVM, AVVP (LLP)."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError, write_text
from avstore.pipelines.interchange.export_clips import ExportClip
from avstore.pipelines.interchange.layouts import FolderLayout

ListWriter = Callable[[OpenStore, Sequence[ExportClip], Path, str, str], list[Path]]

_AVVP = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
_SEGMENTS = """
SELECT clip_id, onset_s, offset_s, label FROM segments
WHERE modality = $modality AND clip_id IN (SELECT unnest($ids))
"""


def write_stella(
    store: OpenStore, clips: Sequence[ExportClip], out: Path, name: str, audio: str
) -> list[Path]:
    """Write a list for STELLA and FLAVA.

    `<name>.csv` has no header and the columns row index, vid, frames_path, wav, label (machine
    ids) and category; `class_labels_indices.csv` lists the classes in use with their category.
    The category is the query's column `task`, otherwise the dataset's. AudioSet-20K's list has no
    category: use a query whose clips have none.

    Args:
        store: The store.
        clips: The clips, in the order of the list.
        out: Folder of the list.
        name: Stem of the list's file name.
        audio: Extension of the audio files.

    Returns:
        The paths of the written files.
    """
    layout = FolderLayout("stella", audio)
    rows = [
        [
            index,
            layout.name(clip),
            layout.frames(clip),
            layout.audio_path(clip),
            ",".join(clip.mids),
        ]
        + ([clip.task] if clip.task else [])
        for index, clip in enumerate(clips)
    ]
    categories = {mid: clip.task for clip in clips for mid in clip.mids}
    return [
        write_text(out / f"{name}.csv", csv_text(rows)),
        write_text(
            out / "class_labels_indices.csv", label_list(store, _one_dataset(clips), categories)
        ),
    ]


def write_cavmae(
    store: OpenStore, clips: Sequence[ExportClip], out: Path, name: str, audio: str
) -> list[Path]:
    """Write a list for CAV-MAE; arguments and result as for `write_stella`.

    `<name>.json` is {"data": [{video_id, wav, video_path, labels}]}; line i of
    `<name>_weight.csv` is the sampling weight of entry i; `class_labels_indices.csv` lists the
    classes.
    """
    layout = FolderLayout("cavmae", audio)
    entries = [
        {
            "video_id": layout.name(clip),
            "wav": layout.audio_path(clip),
            "video_path": ".",
            "labels": ",".join(clip.mids),
        }
        for clip in clips
    ]
    return _write_json(store, clips, out, name, entries)


def write_uavm(
    store: OpenStore, clips: Sequence[ExportClip], out: Path, name: str, audio: str
) -> list[Path]:
    """Write a list for UAVM: as for CAV-MAE, with the feature paths `afeat` and `vfeat`."""
    layout = FolderLayout("cavmae", audio)
    entries = [
        {
            "wav": layout.audio_path(clip),
            "labels": ",".join(clip.mids),
            "afeat": f"audio_feat_convnext_2/{layout.name(clip)}.npy",
            "vfeat": f"video_feat_convnext_2/{layout.name(clip)}.npy",
        }
        for clip in clips
    ]
    return _write_json(store, clips, out, name, entries)


def _write_json(
    store: OpenStore,
    clips: Sequence[ExportClip],
    out: Path,
    name: str,
    entries: list[dict[str, str]],
) -> list[Path]:
    weights = "".join(f"{weight!r}\n" for weight in sample_weights(clips))
    return [
        write_text(out / f"{name}.json", json.dumps({"data": entries}, indent=1)),
        write_text(out / f"{name}_weight.csv", weights),
        write_text(out / "class_labels_indices.csv", label_list(store, _one_dataset(clips))),
    ]


def write_llp(
    store: OpenStore, clips: Sequence[ExportClip], out: Path, name: str, audio: str
) -> list[Path]:
    """Write AVVP's lists of the splits in the query, and its dense event files.

    Arguments and result as for `write_stella`; the file names are AVVP's.
    """
    written = []
    for split, file in _AVVP.items():
        rows = [[_filename(c), ",".join(c.labels)] for c in clips if c.split == split]
        if rows:
            text = csv_text([["filename", "event_labels"], *rows], "\t")
            written.append(write_text(out / file, text))
    names = {clip.clip_id: _filename(clip) for clip in clips}
    for modality in ("audio", "visual"):
        segments = store.query(_SEGMENTS, {"modality": modality, "ids": list(names)}).rows()
        rows = [
            [names[row["clip_id"]], f"{row['onset_s']:g}", f"{row['offset_s']:g}", row["label"]]
            for row in segments
        ]
        if rows:
            text = csv_text([["filename", "onset", "offset", "event_labels"], *rows], "\t")
            written.append(write_text(out / f"AVVP_eval_{modality}.csv", text))
    return written


def _filename(clip: ExportClip) -> str:
    return str(clip.extra.get("filename", clip.key))


def _one_dataset(clips: Sequence[ExportClip]) -> str:
    datasets = sorted({clip.dataset for clip in clips})
    if len(datasets) > 1:
        raise StoreError(
            f"the query has clips of {', '.join(datasets)}, and this format has one label list; "
            "export one dataset at a time"
        )
    return datasets[0]


def label_list(store: OpenStore, dataset: str, categories: dict[str, str] | None = None) -> str:
    """Return the CSV `index,mid,display_name` of a dataset's classes.

    A comma in a VGGSound name becomes `_`, as in the published list.

    Args:
        store: The store.
        dataset: The dataset.
        categories: Category by mid. If given, only these classes are listed, with a column
            `category`.
    """
    labels = store.query(
        "SELECT label_id, label, coalesce(mid, label_id::VARCHAR) AS mid FROM labels "
        "WHERE dataset = $dataset ORDER BY label_id",
        {"dataset": dataset},
    ).rows()
    header = ["index", "mid", "display_name"]
    rows = [[row["label_id"], row["mid"], _display(dataset, row["label"])] for row in labels]
    if categories is not None:
        header.append("category")
        rows = [[*row, categories[row[1]]] for row in rows if row[1] in categories]
    return csv_text([header, *rows])


def _display(dataset: str, label: str) -> str:
    return label.replace(",", "_") if dataset == "vggsound" else label


def sample_weights(clips: Sequence[ExportClip]) -> list[float]:
    """Return a weight per clip: the sum over its labels of 1000 / (clips with the label + 0.01).

    This is the class-balanced sampler of PSLA, AST, CAV-MAE and UAVM, not normalised.
    """
    counts = Counter(label for clip in clips for label in set(clip.label_ids))
    weight = {label: 1000.0 / (count + 0.01) for label, count in counts.items()}
    return [sum(weight[label] for label in set(clip.label_ids)) for clip in clips]


def csv_text(rows: Iterable[Sequence[object]], delimiter: str = ",") -> str:
    """Return rows as CSV with LF line endings and minimal quoting."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


LISTS: dict[str, ListWriter] = {
    "stella": write_stella,
    "cavmae": write_cavmae,
    "uavm": write_uavm,
    "llp": write_llp,
}
"""The writer of each format, by its name on the command line."""
