"""Labels of a batch, in the form that the spec asks for."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from avstore.manifests.store import StoreError
from avstore.train.data.decoded_sample import Piece
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import BatchSpec
from avstore.train.data.transforms.labels import by_segment, multi_hot


def targets(
    samples: SampleList, pieces: Sequence[Piece], spec: BatchSpec
) -> Tensor | list[list[int]]:
    """Labels of the pieces: ids, index [B], multi-hot [B, classes], or by segment."""
    ids = [samples.label_ids(piece.index) for piece in pieces]
    if spec.labels == "ids":
        return ids
    if spec.labels == "index":
        return torch.tensor([_only(x, piece) for x, piece in zip(ids, pieces, strict=True)])
    classes = _classes(samples, spec)
    if spec.labels == "multi_hot":
        smoothing = spec.smoothing if spec.random else 0.0
        made = [
            multi_hot(
                own,
                classes,
                smoothing,
                samples.label_ids(piece.mixed_with[0]) if piece.mixed_with else None,
                piece.share,
            )
            for own, piece in zip(ids, pieces, strict=True)
        ]
    else:
        made = [_segments(samples, piece, spec, classes) for piece in pieces]
    return torch.from_numpy(np.stack(made))


def _only(label_ids: list[int], piece: Piece) -> int:
    if len(label_ids) != 1:
        raise StoreError(
            f"{piece.clip_id} has {len(label_ids)} labels; labels='index' is for clips with one, "
            "choose 'multi_hot' or leave it out of the query"
        )
    return label_ids[0]


def _classes(samples: SampleList, spec: BatchSpec) -> int:
    classes = samples.classes if spec.classes is None else spec.classes
    if spec.background is not None:
        classes = max(classes, spec.background + 1)
    if classes < samples.classes or not classes:
        raise StoreError(
            f"the labels of the clips have {samples.classes} classes and the spec {classes}"
        )
    return classes


def _segments(
    samples: SampleList, piece: Piece, spec: BatchSpec, classes: int
) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    def one(index: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
        parts = samples.segments(index)
        return by_segment(parts, spec.segments, classes, spec.background)

    own = one(piece.index)
    if piece.mixed_with is None:
        return own
    return np.float32(piece.share) * own + np.float32(1 - piece.share) * one(piece.mixed_with[0])
