"""Mix a decoded sample with its partner, then add noise and roll it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.train.data.buffers import OutputBuffers
from avstore.train.data.decode import DecodedSample, set_fbank
from avstore.train.data.request import SampleRequest
from avstore.train.data.rng import Purpose
from avstore.train.data.spec import BatchSpec
from avstore.train.data.transforms import features, waveform
from avstore.train.data.transforms.fbank import noise_and_roll, noise_choices


def augment(
    sample: DecodedSample,
    partner: DecodedSample | None,
    request: SampleRequest,
    spec: BatchSpec,
    out: OutputBuffers | None = None,
) -> DecodedSample:
    """Mix the sample, compute the fbank of a mixed waveform, add noise, roll; change it in place.

    Args:
        sample: The sample.
        partner: The sample to mix it with.
        request: The sample's request.
        spec: Settings.
        out: Where to write the fbank.

    Raises:
        StoreError: If sample and partner differ in shape.
    """
    if partner is not None:
        try:
            _mix(sample, partner, request.share)
        except ValueError as error:
            raise StoreError(
                f"{sample.clip_id} and {partner.clip_id} cannot be mixed: {error}; set image_size, "
                "feature_rows, and a frame_choice that takes as many frames of each"
            ) from error
    elif request.mixing:
        _convert_like_mixed(sample)
    if "fbank" in spec.read and sample.fbank is None and sample.waveform is not None:
        mono = waveform.remove_mean(sample.waveform)
        set_fbank(sample, waveform.fbank(mono, sample.rate, spec.fbank_mels), request, spec)
    if spec.random:
        _add_noise_and_roll(sample, request, spec, out)
    return sample


def _mix(sample: DecodedSample, partner: DecodedSample, share: float) -> None:
    """Blend everything that both hold: share * sample + (1 - share) * partner."""

    def blend(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float32]:
        mixed: NDArray[np.float32] = np.multiply(x, np.float32(share), dtype=np.float32)
        mixed += np.multiply(y, np.float32(1 - share), dtype=np.float32)
        return mixed

    if sample.frames is not None and partner.frames is not None:
        sample.frames = blend(sample.frames, partner.frames)
    if sample.fbank is not None and partner.fbank is not None:
        sample.fbank = blend(sample.fbank, partner.fbank)
        sample.fbank_frames = max(sample.fbank_frames, partner.fbank_frames)
    if sample.waveform is not None and partner.waveform is not None:
        if sample.rate != partner.rate:
            rates = f"{sample.rate} and {partner.rate} Hz"
            raise ValueError(f"their sampling rates are {rates}: set sample_rate")
        sample.waveform = waveform.mix(sample.waveform, partner.waveform, share)
    sample.features = {
        name: blend(x, partner.features[name]) for name, x in sample.features.items()
    }
    sample.mixed_with, sample.share = (partner.index, partner.clip_id), share


def _convert_like_mixed(sample: DecodedSample) -> None:
    """Convert a sample that is not mixed to the dtypes of the batch's mixed ones."""
    if sample.frames is not None:
        sample.frames = sample.frames.astype(np.float32)
    sample.features = {name: features.float32(x) for name, x in sample.features.items()}


def _add_noise_and_roll(
    sample: DecodedSample, request: SampleRequest, spec: BatchSpec, out: OutputBuffers | None
) -> None:
    """Roll features; add noise to the fbank and roll it, or only choose how for the device."""
    noisy = sample.fbank is not None and spec.augment.noise
    rolled = bool(sample.features) and spec.augment.feature_roll > 0
    if not (noisy or rolled):
        return
    generator = request.random.generator(Purpose.NOISE)
    if rolled:
        limit = spec.augment.feature_roll
        # One for all of a sample, from [-limit, limit), as in UAVM's released code.
        shift = int(generator.integers(-limit, limit))
        for name, value in sample.features.items():
            row = out.features[name].row(out.row, value.shape, value.dtype) if out else None
            sample.features[name] = features.roll(value, shift, row)
    if noisy and sample.fbank is not None:
        fbank = sample.fbank
        sample.choices = noise_choices(sample.choices, len(fbank), generator, spec.augment.roll)
        if spec.fbank == "worker":
            row = out.fbanks.row(out.row, fbank.shape, fbank.dtype) if out else None
            sample.fbank = noise_and_roll(fbank, sample.choices, row)
