"""Hold a batch: tensors, and which samples they come from."""

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.shard_reader import BadSample
from avstore.manifests.store import StoreError
from avstore.train.data.batch_keys import ALIASES
from avstore.train.data.device_transform import DamagedFrameError, DeviceFbank, DeviceFrames
from avstore.train.data.transforms.frames import normalise


def _no_integers() -> Tensor:
    return torch.zeros(0, dtype=torch.int64)


@dataclass(frozen=True, repr=False)
class Batch:
    """The samples of one step, or one rank's part of them: B rows, T frames, S pixels.

    It is also a mapping, of what was read: `video`, `fbank`, `waveform`, `masks`, `mask_known` and
    derived features by their names; and of `labels` and `clip_ids`. What was not read is no key,
    and None as an attribute. `frames` and `audio` are other names of `video` and `fbank`. `len`
    counts rows.

    Attributes:
        video: float32 [B, T, 3, S, S], normalised by ImageNet's statistics; before `to`, uint8 with
            pixels='uint8' and None with decode='device'. None if frames were not read.
        audio: float32 [B, 1, frames, mels], the normalised fbank; before `to`, as stored with
            fbank='device'. None if the fbank was not read.
        labels: As `BatchSpec.labels` says.
        clip_ids: Clip id of each row.
        step: Step of the order.
        epoch: Epoch.
        indices: int64 [B], into the sample list.
        clips: Clips of each sample; they are rows one after the other (`by_sample`).
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
        extras: Columns of the query (`sample_list(columns=…)`), and what a transform added, by
            name: tensors [B, …] of numbers, lists of anything else.
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
        >>> tuple(batch.frames.shape), tuple(batch["fbank"].shape)
        ((4, 2, 3, 24, 24), (4, 1, 1024, 16))
        >>> list(batch), "waveform" in batch, batch.waveform
        (['video', 'fbank', 'labels', 'clip_ids'], False, None)
        >>> batch
        Batch(4 clips, epoch 0, step 0: video float32 [4, 2, 3, 24, 24], fbank float32 [4, 1, 1024, 16], labels list)
    """  # noqa: E501 -- a representation is one line

    video: Tensor | None
    audio: Tensor | None
    labels: Tensor | list[list[int]]
    clip_ids: list[str]
    step: int
    epoch: int = 0
    indices: Tensor = field(default_factory=_no_integers)
    clips: int = 1
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
    extras: dict[str, Tensor | list[Any]] = field(default_factory=dict)
    mixed_with: list[str | None] = field(default_factory=list)
    share: Tensor = field(default_factory=lambda: torch.zeros(0))
    problems: tuple[BadSample, ...] = ()
    jpegs: DeviceFrames | None = None
    normalise_pixels: bool = False
    device_fbank: DeviceFbank | None = None

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __repr__(self) -> str:
        """Return one line: the position, and the kind and shape of what the batch holds."""
        held = [f"{name} {_kind(value)}" for name, value in self.items() if name != "clip_ids"]
        if self.jpegs:
            held.insert(0, "video not decoded")
        clips = "1 clip" if len(self) == 1 else f"{len(self)} clips"
        return f"Batch({clips}, epoch {self.epoch}, step {self.step}: {', '.join(held)})"

    def _held(self) -> dict[str, Any]:
        """Return what the batch holds, by key."""
        read = {
            "video": self.video,
            "fbank": self.audio,
            "waveform": self.waveform,
            "masks": self.masks,
            "mask_known": self.mask_known,
        }
        held = {name: value for name, value in read.items() if value is not None}
        more = {"labels": self.labels, "clip_ids": self.clip_ids}
        return {**held, **self.features, **self.extras, **more}

    # Keys are iterated over by numbers, without `__iter__`: Lightning takes what has that for a
    # collection of tensors, and finds no batch size in it for `self.log`.
    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[str]: ...

    def __getitem__(self, name: str) -> Any:
        """Return what the batch holds under a key.

        Raises:
            KeyError: If the batch holds no such thing.
        """
        held = self._held()
        if isinstance(name, int):
            return list(held)[name]
        if name not in self:
            known = ", ".join(held)
            guess = did_you_mean(str(name), [*held, *ALIASES])
            raise KeyError(f"the batch holds no {name!r}{guess}; it holds {known}")
        return held[ALIASES.get(name, name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and ALIASES.get(name, name) in self._held()

    def get(self, name: str, default: Any = None) -> Any:
        """Return what the batch holds under a key, or the default."""
        return self._held().get(ALIASES.get(name, name), default)

    def keys(self) -> KeysView[str]:
        """Return the keys of what the batch holds."""
        return self._held().keys()

    def values(self) -> ValuesView[Any]:
        """Return what the batch holds, in the order of the keys."""
        return self._held().values()

    def items(self) -> ItemsView[str, Any]:
        """Return keys with what the batch holds."""
        return self._held().items()

    @property
    def frames(self) -> Tensor:
        """The frames, as `video`; ValueError if the batch has none."""
        if self.jpegs:
            raise ValueError(
                "the frames are not decoded yet: with decode='device', batch.to(device) does it"
            )
        return self._require("frames", self.video)

    @property
    def fbank(self) -> Tensor:
        """The filter bank, as `audio`; ValueError if the batch has none."""
        return self._require("fbank", self.audio)

    def _require(self, name: str, value: Tensor | None) -> Tensor:
        if value is None:
            raise ValueError(
                f"the batch has no {name}, only {', '.join(self)}: name it in BatchSpec(read=…)"
            )
        return value

    @property
    def audio_mask(self) -> Tensor:
        """Mask bool [B, frames]: True where the fbank is no padding, after its roll."""
        frames = self.fbank.shape[2]
        kept = _length_mask(self.audio_frames, frames)
        if not len(self.audio_roll):
            return kept
        times = torch.arange(frames, device=kept.device)
        return kept.gather(1, (times - self.audio_roll[:, None]) % frames)

    @property
    def video_mask(self) -> Tensor:
        """Mask bool [B, T]: True where a frame is no padding."""
        longest = self.jpegs.frames if self.jpegs else self.frames.shape[1]
        return _length_mask(self.video_frames, longest)

    def by_sample(self, values: Tensor) -> Tensor:
        """Return values of each row [B, …] by sample, [samples, clips, …]; then, say, .mean(1).

        Raises:
            ValueError: If there are not as many values as rows, or rows of a sample are missing.
        """
        indices, clips = self.indices.tolist(), self.clips
        groups = [indices[first : first + clips] for first in range(0, len(self), clips)]
        if len(values) != len(self) or any(group != group[:1] * clips for group in groups):
            raise ValueError(
                f"{len(values)} values for {len(self)} rows of {clips} clips a sample: give a "
                "value for each row of a batch with all clips of its samples"
            )
        return values.reshape(-1, clips, *values.shape[1:])

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
        named = self._named(lambda tensor: tensor.to(device, non_blocking=True))
        if self.jpegs:
            moved["video"] = self._decode(self.jpegs, device)
        if self.normalise_pixels:
            moved["video"] = normalise(moved["video"])
        if self.device_fbank:
            moved["audio"] = self.device_fbank.apply(moved["audio"])
        finished = replace(self, jpegs=None, normalise_pixels=False, device_fbank=None)
        return replace(finished, **moved, **named)

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
            return {name: chosen(x) for name, x in value.items()} if value else value

        found = {name: chosen(getattr(self, name)) for name in _BY_ROW}
        return replace(self, **found)

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; DataLoader(pin_memory=True) calls this."""
        pinned: dict[str, Any] = {
            name: value.pin_memory()
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **pinned, **self._named(lambda tensor: tensor.pin_memory()))

    def _named(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Return features and extras with all their tensors changed."""
        return {
            field: {
                name: change(value) if isinstance(value, Tensor) else value
                for name, value in getattr(self, field).items()
            }
            for field in ("features", "extras")
        }


# Fields with an entry for each row.
_BY_ROW = (
    *("video", "audio", "labels", "clip_ids", "indices", "origin", "padded", "slots"),
    *("audio_frames", "audio_roll", "video_frames", "waveform", "masks", "mask_known"),
    *("frame_times", "frames_valid", "waveform_start", "waveform_samples"),
    *("mask_unknown", "features", "extras", "mixed_with", "share"),
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
    rates = sorted({b.sample_rate for b in (first, *others) if b.sample_rate is not None})
    if len(rates) > 1:
        raise StoreError(f"batches of the sampling rates {rates} Hz cannot be joined")
    if not others:
        return first
    joined = {name: _joined([getattr(b, name) for b in (first, *others)]) for name in _BY_ROW}
    return replace(first, **joined)


def _joined(values: list[Any]) -> Any:
    """Return the rows of one field of several batches; None if one has none."""
    if any(value is None for value in values):
        return None
    if isinstance(values[0], Tensor):
        return torch.cat(values)
    if isinstance(values[0], list):
        return [row for value in values for row in value]
    return {key: _joined([value.get(key) for value in values]) for key in values[0]}


def _kind(value: Any) -> str:
    """Return dtype and shape of a tensor; labels may be lists."""
    if not isinstance(value, Tensor):
        return "list"
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _length_mask(lengths: Tensor, longest: int) -> Tensor:
    return torch.arange(longest, device=lengths.device)[None] < lengths[:, None]
