"""Find how long the waveform of a decoded sample is in its batch."""

from avstore.train.data.decode import DecodedSample
from avstore.train.data.spec import BatchSpec


def waveform_length(sample: DecodedSample, spec: BatchSpec) -> int:
    """Return the samples that a row's waveform is cut or padded to."""
    sound = sample.chosen.sound if sample.chosen else None
    if sound and not spec.waveform_samples:
        return sound.length(sample.rate)
    return spec.waveform_length(sample.rate)
