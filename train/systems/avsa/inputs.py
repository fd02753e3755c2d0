"""What AVSA's networks see of stored clips."""

from dataclasses import replace

from torch import Tensor

from avstore.train.config import RunConfig
from avstore.train.data import Batch, BatchSpec
from avstore.train.data.spatial import (
    AugmentViews,
    Chain,
    Misalign,
    SphericalViews,
    jitter_colours,
    spectra,
)
from avstore.train.errors import UserError
from avstore.train.systems.avsa.model_config import CHANNELS
from avstore.train.systems.avsa.settings import ViewSettings

RATE = 24_000
"""Samples a second of the sound."""


def view_spec(
    config: RunConfig, settings: ViewSettings, *, training: bool, turned: float = 0.0
) -> BatchSpec:
    """Return what the loader must deliver: views of a random window; in evaluation, of `windows`.

    Views are random in evaluation too, and the same each time.

    Args:
        config: The configuration.
        settings: How a clip is seen.
        training: Whether it is for training.
        turned: Share of the clips whose sound is turned by a random yaw.
    """
    s = settings
    views = SphericalViews(
        s.views,
        s.size,
        distance=s.distance,
        seconds=config.data.seconds,
        published=s.geometry == "published",
    )
    before = (Misalign(turned),) if turned else ()
    after = (augmentation(s),) if training else ()
    return BatchSpec(
        batch_size=config.batch_size if training else config.eval_batch,
        frames=s.frames,
        image_size=None,
        seconds=config.data.seconds,
        random=training,
        frame_choice="clip",
        pixels="uint8",
        clips=1 if training else s.windows,
        sound_seconds=s.sound_seconds,
        read=("frames", "waveform"),
        sample_rate=RATE,
        channels=CHANNELS,
        transform=Chain((*before, views, *after)),
    )


def augmentation(settings: ViewSettings) -> AugmentViews:
    """Return what training changes of views at random."""
    s = settings
    found = AugmentViews(published=s.geometry == "published")
    if not s.flip:
        found = replace(found, flip=0.0)
    if not s.volume:
        found = replace(found, volume=0.0)
    if not s.jitter:
        found = replace(found, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)
    return found


def pictures(batch: Batch) -> Tensor:
    """Return the pictures of a batch's views [B, V, T, 3, S, S], normalised, their colours changed.

    Raises:
        UserError: The clips are no panoramas, or have no ambisonic sound.
    """
    frames = batch.frames
    if frames.dim() != 6:
        raise UserError(f"{batch.clip_ids[0]} has no views: give clips of recipe avsa")
    if "jitter" not in batch:
        return frames
    return jitter_colours(frames, batch["jitter"], batch["jitter_order"])


def sounds(batch: Batch) -> Tensor:
    """Return the spectra of a batch's views [B, V, 4, frames, 128]."""
    if batch.waveform is None:
        raise TypeError("load the batch with 'waveform' in read")
    return spectra(batch.waveform, batch.sample_rate)
