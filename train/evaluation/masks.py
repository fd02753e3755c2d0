"""Check that a store holds AVSBench's masks, and fit them to its frames."""

import json
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from avstore.train.data import Batch, OpenStore, SampleList
from avstore.train.errors import UserError

MASK_SIZE = 224
"""Side in pixels of the published masks: the whole picture, stretched to a square."""

_CLIPS = """
SELECT c.clip_id, c.extra, any_value(m.width) AS width, any_value(m.height) AS height
FROM clips c LEFT JOIN media m USING (clip_id)
WHERE c.clip_id IN (SELECT unnest(?)) GROUP BY ALL
"""


class MaskFit:
    """Cuts whole masks as the recipe cut the stored frames.

    Args:
        store: The store that the lists are of.
        lists: Samples whose masks are used.
        fit: How the recipe fitted the frames: "crop" (the middle square) or "stretch".

    Raises:
        UserError: The shards lack masks that the annotations name.
    """

    def __init__(
        self, store: OpenStore, lists: Sequence[SampleList], fit: Literal["crop", "stretch"]
    ) -> None:
        self._fit = fit
        self._sizes: dict[str, tuple[int, int]] = {}
        named: set[tuple[str, str]] = set()
        for row in store.query(_CLIPS, [[i for samples in lists for i in samples.clip_ids]]).rows():
            seconds = (json.loads(row["extra"] or "{}").get("masks") or {}).get("seconds", [])
            named |= {(row["clip_id"], f"mask_{second}.png") for second in seconds}
            self._sizes[row["clip_id"]] = (row["width"] or 1, row["height"] or 1)
        absent = sorted(named - {pair for samples in lists for pair in _stored(samples)})
        if not named:
            raise UserError("the clips have no masks; segmentation is for AVSBench (--stream avs)")
        if absent:
            example = f", for example {absent[0][1]} of {absent[0][0]}"
            raise UserError(
                f"{len(absent)} of {len(named)} masks are not in the shards of {store.root}"
                f"{example}; build the store from AVSBench's published folder, with s4_data or "
                "ms3_data in it (avstore build avs --source FOLDER)"
            )

    def fit(self, batch: Batch, size: int) -> tuple[Tensor, Tensor]:
        """Return the masks of a batch that was read with `mask_size`.

        Args:
            batch: Batch with `masks` uint8 [B, T, S, S]; whatever is not 0 belongs to the mask.
            size: Side in pixels of the masks to return.

        Returns:
            Masks of 0 and 1, float32 [B, T, 1, size, size], and which exist, bool [B, T].
        """
        if batch.masks is None or batch.mask_known is None:
            raise ValueError("the batch has no masks; add 'masks' to the BatchSpec's read")
        fitted = []
        for masks, clip_id in zip(batch.masks, batch.clip_ids, strict=True):
            whole = (masks > 0).float()
            cut = whole if self._fit == "stretch" else crop(whole, *self._sizes[clip_id])
            fitted.append(F.interpolate(cut[:, None], size=(size, size)))
        return torch.stack(fitted), batch.mask_known


def _stored(samples: SampleList) -> list[tuple[str, str]]:
    """Return (clip_id, suffix) of every mask that the shards hold."""
    names = [[n for n in layout.names if n.startswith("mask_")] for layout in samples.layouts]
    pairs = zip(samples.clip_ids, samples.numbers("layout").tolist(), strict=True)
    return [(clip_id, name) for clip_id, layout in pairs for name in names[layout]]


def crop(mask: Tensor, width: int, height: int) -> Tensor:
    """Cut the video's middle square out of masks of the whole picture.

    Args:
        mask: Masks [..., H, W] of a picture that was stretched to H x W.
        width: Width of the video in pixels.
        height: Height of the video in pixels.
    """
    rows, columns = mask.shape[-2:]
    share_x, share_y = min(1.0, height / width), min(1.0, width / height)
    wide, high = max(1, round(columns * share_x)), max(1, round(rows * share_y))
    left, top = (columns - wide) // 2, (rows - high) // 2
    return mask[..., top : top + high, left : left + wide]
