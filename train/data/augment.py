"""One sample of a batch: decoded, mixed with its partner, and finished."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.shard_reader import Reader
from avstore.manifests.store import StoreError
from avstore.train.data.decode import decoded
from avstore.train.data.decoded_sample import Piece, Places
from avstore.train.data.fbanks import fbank_of
from avstore.train.data.request import Request
from avstore.train.data.rng import Purpose
from avstore.train.data.spec import BatchSpec
from avstore.train.data.transforms import features, sound, spectrograms
from avstore.train.data.transforms.mixing import mean_free, mix_waveforms


def make(request: Request, spec: BatchSpec, reader: Reader, places: Places | None = None) -> Piece:
    """A row's sample, mixed with its partner where it has one.

    Raises BadSampleError naming clip, shard and offset.
    """
    piece = decoded(request, spec, reader, places)
    if request.partner is not None:
        partner = decoded(request.partner, spec, reader)
        try:
            piece = _mixed(piece, partner, request.share)
        except ValueError as error:
            raise StoreError(
                f"{piece.clip_id} and {partner.clip_id} cannot be mixed: {error}; give image_size, "
                "feature_rows, and a frame_choice with as many frames of each"
            ) from error
    elif spec.mixing:
        piece = _as_mixed(piece)
    return _finished(piece, request, spec, places)


def _mixed(a: Piece, b: Piece, share: float) -> Piece:
    """share * a + (1 - share) * b, of everything that both hold."""

    def blend(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float32]:
        return (share * x.astype(np.float32) + (1 - share) * y.astype(np.float32)).astype(
            np.float32
        )

    if a.pictures is not None and b.pictures is not None:
        a.pictures = blend(a.pictures, b.pictures)
    if a.fbank is not None and b.fbank is not None:
        a.fbank = blend(a.fbank, b.fbank)
        a.fbank_frames = max(a.fbank_frames, b.fbank_frames)
    if a.waveform is not None and b.waveform is not None:
        a.waveform = mix_waveforms(a.waveform, b.waveform, share)
    a.features = {name: blend(x, b.features[name]) for name, x in a.features.items()}
    a.mixed_with, a.share = (b.index, b.clip_id), share
    return a


def _as_mixed(piece: Piece) -> Piece:
    """A piece that is not mixed, in the types of those in its batch that are."""
    if piece.pictures is not None:
        piece.pictures = piece.pictures.astype(np.float32)
    piece.features = {name: x.astype(np.float32) for name, x in piece.features.items()}
    return piece


def _finished(
    piece: Piece, request: Request, spec: BatchSpec, places: Places | None = None
) -> Piece:
    """Fbank of a mixed waveform; then noise and roll."""
    if "audio" in spec.read and piece.fbank is None and piece.waveform is not None:
        energies = sound.fbank(mean_free(piece.waveform), piece.rate, spec.fbank_mels)
        piece.fbank = fbank_of(energies, piece, request, spec)
    noisy = piece.fbank is not None and spec.noise and spec.augment.noise
    rolled = bool(piece.features) and spec.augment.feature_roll > 0
    if spec.random and (noisy or rolled):
        drawn = request.draw.generator(Purpose.NOISE)
        if rolled:
            piece.features = features.roll(piece.features, spec.augment.feature_roll, drawn)
        if piece.fbank is not None and noisy:
            _noise(piece, piece.fbank, spec, drawn, places)
    return piece


def _noise(
    piece: Piece,
    fbank: NDArray[Any],
    spec: BatchSpec,
    drawn: np.random.Generator,
    places: Places | None,
) -> None:
    """Noise and roll of the fbank, or only the choices for them, where the device does it."""
    choices = spectrograms.noise_choices(piece.choices, len(fbank), drawn, spec.augment.roll)
    piece.choices = choices
    if spec.fbank == "worker":
        out = places.fbank(fbank.shape, fbank.dtype) if places else None
        piece.fbank = spectrograms.noise_and_roll(fbank, choices, out)
