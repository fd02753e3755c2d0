"""Write stored features in the folders from which published code loads them, one .npy a clip."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from avstore.manifests.library import OpenStore
from avstore.manifests.names import check_name
from avstore.manifests.store import StoreError
from avstore.pipelines.interchange.export_clips import ExportClip
from avstore.pipelines.interchange.feature_layouts import LAYOUTS
from avstore.pipelines.interchange.layouts import write_new

_BATCH_CLIPS = 256

FEATURE_FOLDERS: dict[str, dict[str, str]] = {
    code: {layout.feature: layout.folder for layout in layouts} for code, layouts in LAYOUTS.items()
}
"""The folder of each feature, by format: UAVM's lists, AVVP's and VALOR's folders below `data`."""


def write_features(
    store: OpenStore,
    clips: Sequence[ExportClip],
    out: Path,
    folders: Mapping[str, str],
    name: Callable[[ExportClip], str],
    recipe: str | None = None,
) -> dict[str, int]:
    """Write the features of `folders` that the store has; skip existing files.

    Args:
        store: The store.
        clips: The clips to write.
        out: The export folder.
        folders: Folder of each feature, relative to `out`.
        name: Returns a clip's file name, without `.npy`.
        recipe: A recipe name, or <recipe>-<fp8>, if several have the clips.

    Returns:
        The number of files written of each feature.

    Raises:
        StoreError: The store has none of the features, or a clip lacks one that others have.
    """
    ids = [clip.clip_id for clip in clips]
    sql = "SELECT DISTINCT feature FROM feature_samples WHERE clip_id IN (SELECT unnest($ids))"
    stored = {row["feature"] for row in store.query(sql, {"ids": ids}).rows()}
    chosen = {feature: folder for feature, folder in folders.items() if feature in stored}
    if not chosen:
        raise StoreError(
            f"the store has none of the features {', '.join(folders)} of these clips; compute "
            "them with avstore features build"
        )
    written = dict.fromkeys(chosen, 0)
    for start in range(0, len(clips), _BATCH_CLIPS):
        batch = clips[start : start + _BATCH_CLIPS]
        for feature, folder in chosen.items():
            values = store.read(feature, [clip.clip_id for clip in batch], recipe)
            for clip in batch:
                file = check_name("key", name(clip), "the manifest")
                content = _npy(values[clip.clip_id])
                written[feature] += write_new(out / folder / f"{file}.npy", content)
    return written


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
