"""Lists as the published code reads them: STELLA and FLAVA, CAV-MAE and UAVM, AVVP (LLP)."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from avstore.manifests.library import OpenStore
from avstore.manifests.store import StoreError
from avstore.pipelines.interchange.export_clips import ExportClip
from avstore.pipelines.interchange.label_files import label_list, sample_weights
from avstore.pipelines.interchange.layouts import Layout
from avstore.pipelines.interchange.text import csv_text, write_text

Write = Callable[[OpenStore, Sequence[ExportClip], Path, str, str], list[Path]]

_AVVP = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
_SEGMENTS = """
SELECT clip_id, onset_s, offset_s, label FROM segments
WHERE modality = $modality AND clip_id IN (SELECT unnest($ids))
"""


def write_stella(
    store: OpenStore, clips: Sequence[ExportClip], out: Path, name: str, audio: str
) -> list[Path]:
    """`<name>.csv` (no header: row index, vid, frames_path, wav, label, category; labels are mids)
    and `class_labels_indices.csv` with the classes in use and their category.

    The category is the query's column `task`, else the dataset's. AudioSet-20K's list is the same
    without a category: give a query whose clips have none.
    """
    layout = Layout("stella", audio)
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
    """`<name>.json` ({"data": [video_id, wav, video_path, labels]}), its label list and weights.

    Line i of `<name>_weight.csv` belongs to entry i of the JSON.
    """
    layout = Layout("cavmae", audio)
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
    """As for CAV-MAE, with the paths of the features that UAVM trains on (`afeat`, `vfeat`)."""
    layout = Layout("cavmae", audio)
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
    """AVVP's files of the splits that the query has, with its dense files for val and test."""
    written = []
    for split, file in _AVVP.items():
        rows = [[_filename(c), ",".join(c.labels)] for c in clips if c.split == split]
        if rows:
            text = csv_text([["filename", "event_labels"], *rows], "\t")
            written.append(write_text(out / file, text))
    names = {clip.clip_id: _filename(clip) for clip in clips}
    for modality in ("audio", "visual"):
        found = store.query(_SEGMENTS, {"modality": modality, "ids": list(names)}).rows()
        rows = [
            [names[r["clip_id"]], _plain(r["onset_s"]), _plain(r["offset_s"]), r["label"]]
            for r in found
        ]
        if rows:
            text = csv_text([["filename", "onset", "offset", "event_labels"], *rows], "\t")
            written.append(write_text(out / f"AVVP_eval_{modality}.csv", text))
    return written


def _filename(clip: ExportClip) -> str:
    return str(clip.extra.get("filename", clip.key))


def _plain(seconds: float) -> str:
    return f"{seconds:g}"


def _one_dataset(clips: Sequence[ExportClip]) -> str:
    datasets = sorted({clip.dataset for clip in clips})
    if len(datasets) > 1:
        raise StoreError(
            f"the query has clips of {', '.join(datasets)}; this format has one label list, so "
            "export one dataset at a time"
        )
    return datasets[0]


LISTS: dict[str, Write] = {
    "stella": write_stella,
    "cavmae": write_cavmae,
    "uavm": write_uavm,
    "llp": write_llp,
}
