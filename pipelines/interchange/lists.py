"""Write clip lists that published code reads: CAV-MAE and UAVM, AVVP and VALOR (LLP)."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avstore.manifests.library import OpenStore
from avstore.manifests.store import write_text
from avstore.pipelines.interchange.class_lists import (
    csv_text,
    dataset_classes,
    one_dataset,
    require_labels,
    write_class_list,
    write_shared,
)
from avstore.pipelines.interchange.export_clips import ExportClip
from avstore.pipelines.interchange.layouts import FolderLayout
from avstore.pipelines.interchange.stella import write_stella

ListWriter = Callable[[OpenStore, Sequence[ExportClip], Path, str, str], list[Path]]

_AVVP = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
_SEGMENTS = """
SELECT c.key, c.extra, s.onset_s, s.offset_s, s.label FROM segments s JOIN clips c USING (clip_id)
WHERE s.modality = $modality AND c.dataset = $dataset ORDER BY s.rowid
"""


def write_cavmae(
    store: OpenStore, clips: Sequence[ExportClip], out: Path, name: str, audio: str
) -> list[Path]:
    """Write a list for CAV-MAE; arguments and result as for `write_stella`.

    Paths are relative to the export folder, from which the code must be run.

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
    require_labels(clips)
    classes = dataset_classes(store, one_dataset(clips))
    weights = "".join(f"{weight!r}\n" for weight in sample_weights(clips))
    return [
        write_class_list(out / "class_labels_indices.csv", classes),
        write_text(out / f"{name}.json", json.dumps({"data": entries}, indent=1)),
        write_text(out / f"{name}_weight.csv", weights),
    ]


def write_llp(
    store: OpenStore, clips: Sequence[ExportClip], out: Path, name: str, audio: str
) -> list[Path]:
    """Write AVVP's lists of the splits in the query, and the dataset's dense event files.

    Arguments and result as for `write_stella`; the file names are AVVP's. The event files have the
    events of all clips, also of those that are not in the query: lists of val and test share them.
    """
    written = []
    for split, file in _AVVP.items():
        rows = [[_filename(c), ",".join(c.labels)] for c in clips if c.split == split]
        if rows:
            text = csv_text([["filename", "event_labels"], *rows], "\t")
            written.append(write_text(out / file, text))
    for modality in ("audio", "visual"):
        segments = store.query(
            _SEGMENTS, {"modality": modality, "dataset": one_dataset(clips)}
        ).rows()
        rows = [
            [_name(row), f"{row['onset_s']:g}", f"{row['offset_s']:g}", row["label"]]
            for row in segments
        ]
        if rows:
            text = csv_text([["filename", "onset", "offset", "event_labels"], *rows], "\t")
            path = out / f"AVVP_eval_{modality}.csv"
            written.append(write_shared(path, text, f"{len(rows)} events"))
    return written


def _name(row: Mapping[str, Any]) -> str:
    return str(json.loads(row["extra"] or "{}").get("filename", row["key"]))


def _filename(clip: ExportClip) -> str:
    return str(clip.extra.get("filename", clip.key))


def feature_file(form: str, audio: str) -> Callable[[ExportClip], str]:
    """Return the function that gives a clip's file name in the feature folders of a format.

    AVVP and VALOR take the first 11 characters of the name in the list.
    """
    if form == "llp":
        return lambda clip: _filename(clip)[:11]
    return FolderLayout("cavmae", audio).name


def sample_weights(clips: Sequence[ExportClip]) -> list[float]:
    """Return a weight per clip: the sum over its labels of 1000 / (clips with the label + 0.01).

    This is the class-balanced sampler of PSLA, AST, CAV-MAE and UAVM, not normalised.
    """
    counts = Counter(label for clip in clips for label in set(clip.label_ids))
    weight = {label: 1000.0 / (count + 0.01) for label, count in counts.items()}
    return [sum(weight[label] for label in set(clip.label_ids)) for clip in clips]


LISTS: dict[str, ListWriter] = {
    "stella": write_stella,
    "cavmae": write_cavmae,
    "uavm": write_uavm,
    "llp": write_llp,
}
"""The writer of each format, by its name on the command line."""
