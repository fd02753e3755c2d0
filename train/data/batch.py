"""Hold a batch: tensors, and which samples they come from."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from avstore.manifests.shard_reader import BadSample
from avstore.manifests.store import StoreError
from avstore.train.data.device_transform import DamagedFrameError, DeviceFbank, DeviceFrames
from avstore.train.data.transforms.frames import normalise


def _no_integers() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True)
class Batch:
    """The samples of one step, or one rank's part of them: B rows, T frames, S pixels.

    Attributes:
        video: float32 [B, T, 3, S, S], normalised by ImageNet's statistics; before `to`, uint8 with
            pixels='uint8' and empty with decode='device'.
        audio: float32 [B, 1, frames, mels], the normalised fbank; before `to`, as stored with
            fbank='device'.
        labels: As `BatchSpec.labels` says.
        clip_ids: Clip id of each row.
        step: Step of the order.
        epoch: Epoch.
        indices: int64 [B], into the sample list.
        origin: int16 [B], number of the source; in a plan 0 is the task and 1 the replay.
        padded: bool [B], True for rows that only fill up the batch.
        slots: int64 [B], in a plan the slot of its memory that a row of the task takes, or that a
            replayed row was drawn from; -1 for none.
        audio_frames: int64 [B], fbank frames that are no padding (see `audio_mask`).
        audio_roll: int64 [B], roll of the fbank in time, in frames.
        video_frames: int64 [B], video frames that are no padding (see `video_mask`).
        frame_times: float32 [B, T], presentation time of each frame in seconds; NaN for padding.
        frames_valid: bool [B, T], True for frames that the clip has; others repeat one that it has,
            or are padding.
        waveform: float32 [B, samples] in [-1, 1]; [B, channels, samples] of several channels.
        waveform_start: float32 [B], where waveform and fbank begin, in seconds from the start of
            the stored clip: not 0 for frame_choice='clip'.
        waveform_samples: int64 [B], samples of the waveform that are no padding.
        sample_rate: Samples per second of `waveform`.
        masks: uint8 [B, segments, S, S].
        mask_known: bool [B, segments], True for seconds with a mask.
        mask_unknown: int64 [B], pixels of AVSS's masks whose colour is not in its palette; they are
            background.
        features: Derived features, [B, …] by name.
        mixed_with: Clip id of each row's mixup partner; None if it is not mixed.
        share: float32 [B], share of the row's own sample in the mixture.
        problems: Samples that were skipped or replaced.
        jpegs: Frames for the device to decode.
        normalise_pixels: Whether `to` normalises `video`.
        device_fbank: What `to` does to `audio`.

    Example:
        >>> batch = next(iter(Loader(samples, BatchSpec(batch_size=4, frames=2, image_size=24))))
        >>> isinstance(batch, Batch), len(batch), batch.epoch, batch.step
        (True, 4, 0, 0)
        >>> batch = batch.to("cpu")
        >>> tuple(batch.video.shape), tuple(batch.audio.shape)
        ((4, 2, 3, 24, 24), (4, 1, 1024, 16))
    """

    video: Tensor
    audio: Tensor
    labels: Tensor | list[list[int]]
    clip_ids: list[str]
    step: int
    epoch: int = 0
    indices: Tensor = field(default_factory=_no_integers)
    origin: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int16))
    padded: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    slots: Tensor = field(default_factory=_no_integers)
    audio_frames: Tensor = field(default_factory=_no_integers)
    audio_roll: Tensor = field(default_factory=_no_integers)
    video_frames: Tensor = field(default_factory=_no_integers)
    frame_times: Tensor = field(default_factory=lambda: torch.zeros(0))
    frames_valid: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    waveform: Tensor | None = None
    waveform_start: Tensor = field(default_factory=lambda: torch.zeros(0))
    waveform_samples: Tensor = field(default_factory=_no_integers)
    sample_rate: int | None = None
    masks: Tensor | None = None
    mask_known: Tensor | None = None
    mask_unknown: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)
    mixed_with: list[str | None] = field(default_factory=list)
    share: Tensor = field(default_factory=lambda: torch.zeros(0))
    problems: tuple[BadSample, ...] = ()
    jpegs: DeviceFrames | None = None
    normalise_pixels: bool = False
    device_fbank: DeviceFbank | None = None

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def frames(self) -> Tensor:
        """The frames: `video`."""
        return self.video

    @property
    def fbank(self) -> Tensor:
        """The filter bank: `audio`."""
        return self.audio

    @property
    def audio_mask(self) -> Tensor:
        """Mask bool [B, frames]: True where the fbank is no padding, after its roll."""
        frames = self.audio.shape[2]
        kept = _length_mask(self.audio_frames, frames)
        if not len(self.audio_roll):
            return kept
        times = torch.arange(frames, device=kept.device)
        return kept.gather(1, (times - self.audio_roll[:, None]) % frames)

    @property
    def video_mask(self) -> Tensor:
        """Mask bool [B, T]: True where a frame is no padding."""
        return _length_mask(self.video_frames, self.video.shape[1])

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device; decode and normalise there what the spec leaves to it.

        Raises:
            StoreError: If a frame cannot be decoded.
        """
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        features = {name: x.to(device, non_blocking=True) for name, x in self.features.items()}
        video = self._decode(self.jpegs, device) if self.jpegs else moved["video"]
        moved["video"] = normalise(video) if self.normalise_pixels else video
        if self.device_fbank:
            moved["audio"] = self.device_fbank.apply(moved["audio"])
        finished = replace(self, jpegs=None, normalise_pixels=False, device_fbank=None)
        return replace(finished, **moved, features=features)

    def _decode(self, jpegs: DeviceFrames, device: torch.device | str) -> Tensor:
        try:
            return jpegs.decode(device)
        except DamagedFrameError as error:
            raise StoreError(
                f"{self.clip_ids[error.row]}, frame {error.frame} of the {jpegs.frames} chosen, "
                f"cannot be decoded on {device}: {error}; run avstore verify, or use "
                "decode='worker', where an ErrorPolicy can skip or replace it"
            ) from error

    def rows(self, index: slice | list[int] | Tensor) -> "Batch":
        """Return some rows of a batch that is on its device (see `to`).

        Args:
            index: A slice, row numbers, or a mask [B].
        """
        numbers = torch.arange(len(self))[index].tolist()

        def chosen(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value[index] if len(value) else value
            if isinstance(value, list):
                return [value[number] for number in numbers] if value else value
            return {name: x[index] for name, x in value.items()} if value else value

        found = {name: chosen(getattr(self, name)) for name in _BY_ROW}
        return replace(self, **found)

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; DataLoader(pin_memory=True) calls this."""
        pinned: dict[str, Any] = {
            name: value.pin_memory()
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        features = {name: value.pin_memory() for name, value in self.features.items()}
        return replace(self, **pinned, features=features)


# Fields with an entry for each row.
_BY_ROW = (
    *("video", "audio", "labels", "clip_ids", "indices", "origin", "padded", "slots"),
    *("audio_frames", "audio_roll", "video_frames", "waveform", "masks", "mask_known"),
    *("frame_times", "frames_valid", "waveform_start", "waveform_samples"),
    *("mask_unknown", "features", "mixed_with", "share"),
)


def join(first: Batch, *others: Batch) -> Batch:
    """Return the rows of several batches, which are on one device, as one batch.

    Step, epoch and problems are those of the first. Labels must be of one kind, and waveforms of
    one sampling rate.

    Example:
        >>> first, second, *_ = Loader(samples, BatchSpec(batch_size=4, frames=2, image_size=24))
        >>> len(join(first, second))
        8
    """

    def joined(name: str) -> Any:
        values = [getattr(batch, name) for batch in (first, *others)]
        if any(value is None for value in values):
            return None
        if isinstance(values[0], Tensor):
            return torch.cat(values)
        if isinstance(values[0], list):
            return [row for value in values for row in value]
        return {key: torch.cat([value[key] for value in values]) for key in values[0]}

    rates = sorted({b.sample_rate for b in (first, *others) if b.sample_rate is not None})
    if len(rates) > 1:
        raise StoreError(f"batches of the sampling rates {rates} Hz cannot be joined")
    return replace(first, **{name: joined(name) for name in _BY_ROW}) if others else first


def _length_mask(lengths: Tensor, longest: int) -> Tensor:
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]
