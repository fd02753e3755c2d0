"""The label list and the sample weights that CAV-MAE, UAVM and STELLA read beside their lists."""

from collections import Counter
from collections.abc import Sequence

from avstore.manifests.library import OpenStore
from avstore.pipelines.interchange.export_clips import ExportClip
from avstore.pipelines.interchange.text import csv_text


def label_list(store: OpenStore, dataset: str, categories: dict[str, str] | None = None) -> str:
    """`index,mid,display_name`, and a column category where `categories` (by mid) is given.

    A comma in a VGGSound name is written `_`, as in the published list.
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
    """A weight a clip: the sum over its labels of 1000 / (clips with the label + 0.01).

    Source: the class-balanced sampler of PSLA, AST, CAV-MAE and UAVM; not normalised.
    """
    counts = Counter(label for clip in clips for label in set(clip.label_ids))
    weight = {label: 1000.0 / (count + 0.01) for label, count in counts.items()}
    return [sum(weight[label] for label in set(clip.label_ids)) for clip in clips]
