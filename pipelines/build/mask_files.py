"""AVSBench's masks: files of the published folder that become members beside a clip's frames."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# A file beside a clip: the member's suffix, and where it lies.
Beside = tuple[tuple[str, str], ...]


def mask_files(extra: Mapping[str, Any], media: str) -> Beside:
    """(`mask_<second>.png`, file) of every published mask of a clip that is there.

    extra: the clip's, with `masks` as avstore.datasets.avs writes it. The published folder is
    sought from the media file upwards; masks of a clip that came out of an archive are not found.
    """
    masks = extra.get("masks")
    if not masks:
        return ()
    first = int(masks.get("first_frame", 0))
    names = {
        int(second): str(masks["path"]).format(frame=int(second) + first)
        for second in masks["seconds"]
    }
    for folder in Path(media).parents:
        found = {second: folder / name for second, name in names.items()}
        if any(path.is_file() for path in found.values()):
            return tuple(
                (f"mask_{second}.png", str(path))
                for second, path in sorted(found.items())
                if path.is_file()
            )
    return ()
