"""AVSBench's masks: where they lie, and how they fit the stored frames."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import OpenStore
from avstore.train.errors import UserError

_FACTS = """
SELECT c.clip_id, c.extra, any_value(m.width) AS width, any_value(m.height) AS height
FROM clips c LEFT JOIN media m USING (clip_id)
WHERE c.clip_id IN (SELECT unnest(?)) GROUP BY ALL
"""


class Masks:
    """The masks of some clips, read when they are needed.

    folder: what the authors hand out, with s4_data or ms3_data in it. fit: how the shards'
    frames were cut: "crop" (short side, then the square in the middle) or "stretch".
    Raises UserError where the folder lacks masks that the annotations promise.
    """

    def __init__(self, store: OpenStore, clip_ids: Sequence[str], folder: Path, fit: str) -> None:
        self.fit = fit
        self.files: dict[str, dict[int, Path]] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        for row in store.query(_FACTS, [list(clip_ids)]).rows():
            told: dict[str, Any] = json.loads(row["extra"] or "{}").get("masks") or {}
            first = told.get("first_frame", 1)
            self.files[row["clip_id"]] = {
                second: folder / str(told["path"]).format(frame=first + second)
                for second in told.get("seconds", [])
            }
            self.sizes[row["clip_id"]] = (row["width"] or 1, row["height"] or 1)
        wanted = [path for files in self.files.values() for path in files.values()]
        absent = [path for path in wanted if not path.is_file()]
        if absent or not wanted:
            example = f", for one {absent[0]}" if absent else ""
            raise UserError(
                f"{len(absent)} of {len(wanted)} masks are not in {folder}{example}; give the "
                "folder that holds s4_data or ms3_data with --masks"
            )

    def of(self, clip_ids: Sequence[str], frames: int, size: int) -> tuple[Tensor, Tensor]:
        """Masks float [B, T, 1, size, size] of 0 and 1 of the first T seconds, and bool [B, T]:
        which of them there are."""
        masks = torch.zeros(len(clip_ids), frames, 1, size, size)
        known = torch.zeros(len(clip_ids), frames, dtype=torch.bool)
        for row, clip_id in enumerate(clip_ids):
            for second, path in self.files[clip_id].items():
                if second < frames:
                    whole = read_mask(path)
                    cut = whole if self.fit == "stretch" else crop(whole, *self.sizes[clip_id])
                    masks[row, second] = F.interpolate(cut[None, None], size=(size, size))[0]
                    known[row, second] = True
        return masks, known


def read_mask(path: Path) -> Tensor:
    """A mask as float [H, W] of 0 and 1: whatever is not 0 counts (MS3's are palette images)."""
    try:
        with Image.open(path) as image:
            values = np.array(image if image.mode in ("1", "L", "P", "I") else image.convert("L"))
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"mask {path} cannot be read: {error}") from error
    return torch.from_numpy((values > 0).astype(np.float32))


def crop(mask: Tensor, width: int, height: int) -> Tensor:
    """The middle square, in the video's own shape, of a mask [H, W] stretched to another shape."""
    rows, columns = mask.shape
    share_x, share_y = min(1.0, height / width), min(1.0, width / height)
    wide, high = max(1, round(columns * share_x)), max(1, round(rows * share_y))
    left, top = (columns - wide) // 2, (rows - high) // 2
    return mask[top : top + high, left : left + wide]
