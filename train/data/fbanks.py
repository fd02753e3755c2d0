"""An fbank from its bytes to its row of the batch, but for mixing, noise and roll."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.shard_reader import LocalReader, Reader
from avstore.train.data.decoded_sample import Piece, Places
from avstore.train.data.direct import read_row
from avstore.train.data.request import Request
from avstore.train.data.rng import Purpose
from avstore.train.data.spec import BatchSpec
from avstore.train.data.transforms import spectrograms
from avstore.train.data.transforms.scratch import bench


def read_fbank(
    piece: Piece, request: Request, spec: BatchSpec, reader: Reader, places: Places | None
) -> bool:
    """Read the fbank past the other members, if it is not to be checked: to where it belongs, if it
    is left to the device, or to where it is finished. Whether it was read."""
    if not request.fbank or request.whole or places is None or not isinstance(reader, LocalReader):
        return False
    usual = places.usual_fbank()
    if usual is None or (spec.mixing and spec.fbank == "worker"):
        return False
    left = spec.fbank == "device"
    room = None if left else bench(usual.shape)
    kept = read_row(reader, request.member(request.fbank), room.stored if room else usual)
    if kept is None:
        return False
    piece.fbank_frames = kept
    if room is None:
        _choose_masks(piece, usual.shape, request, spec)
        piece.fbank = usual
    else:
        piece.fbank = _finished(room.widened(kept), piece, request, spec, places)
    return True


def fbank_of(
    stored: NDArray[Any],
    piece: Piece,
    request: Request,
    spec: BatchSpec,
    places: Places | None = None,
) -> NDArray[Any]:
    """Fbank as it goes into a model. Raises ValueError for what is none."""
    piece.fbank_frames = min(len(stored), spec.fbank_frames)
    if spec.fbank == "device":
        shape = (spec.fbank_frames, *stored.shape[1:])
        place = places.fbank(shape, stored.dtype) if places and stored.ndim == 2 else None
        fitted = spectrograms.fit(stored, spec.fbank_frames, place)
        _choose_masks(piece, fitted.shape, request, spec)
        return fitted
    if stored.ndim == 2 and stored.dtype == np.float16 and places and not spec.mixing:
        room = bench((spec.fbank_frames, stored.shape[1]))
        room.stored[: piece.fbank_frames] = stored[: piece.fbank_frames]
        fitted = room.widened(piece.fbank_frames)
    else:
        fitted = spectrograms.fit(stored, spec.fbank_frames)
    return _finished(fitted, piece, request, spec, places)


def _finished(
    fitted: NDArray[np.float32],
    piece: Piece,
    request: Request,
    spec: BatchSpec,
    places: Places | None,
) -> NDArray[np.float32]:
    """Masked and normalised: in its row, unless it is to be mixed or noise comes after."""
    _choose_masks(piece, fitted.shape, request, spec)
    spectrograms.blank(fitted, piece.choices)
    noisy = spec.random and spec.noise and spec.augment.noise
    place = places.fbank(fitted.shape, np.float32) if places and not noisy else None
    out = None if spec.mixing else place
    return spectrograms.normalise(fitted, spec.mean, spec.std, out)


def _choose_masks(piece: Piece, shape: tuple[int, ...], request: Request, spec: BatchSpec) -> None:
    """What SpecAugment blanks of an fbank of this shape."""
    a = spec.augment
    if spec.random and (a.freq_mask or a.time_mask):
        drawn = request.draw.generator(Purpose.MASK)
        piece.choices = spectrograms.mask_choices(shape, a.freq_mask, a.time_mask, drawn)
