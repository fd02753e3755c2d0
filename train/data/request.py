"""What is to be read for a row, decided before anything is: choices and byte ranges."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from avstore.manifests.shard_reader import BadSample, BadSampleError, ByteRange, Shard
from avstore.manifests.store import StoreError
from avstore.train.data.order import Indices, Order, Rows
from avstore.train.data.rng import Purpose, generator
from avstore.train.data.samples import Sample, SampleList
from avstore.train.data.spec import BatchSpec, Policy
from avstore.train.data.transforms.frames import choose_frames

BASE = ("video", "audio", "waveform", "masks")
_SOUND = ("flac", "wav")


@dataclass(frozen=True, slots=True)
class Draw:
    """Where a row's random choices come from: its generators are functions of these numbers."""

    seed: int
    epoch: int
    place: int

    def generator(self, purpose: Purpose) -> np.random.Generator:
        return generator(self.seed, purpose, self.epoch, self.place)


@dataclass(frozen=True, slots=True)
class Request:
    """One sample of a row. members: of the base shard, by what they are for, in order of reading.

    frames: members of the chosen frames, in order of time. features: by name, of companions.
    whole: read every member and compare the checksum. share: of this sample in the mixture.
    """

    sample: Sample
    draw: Draw
    frames: tuple[str, ...]
    fbank: str | None
    sound: str | None
    features: tuple[tuple[str, ByteRange], ...]
    feature_crcs: tuple[int, ...]
    masks: tuple[str, ...]
    whole: bool
    partner: "Request | None" = None
    share: float = 1.0

    @property
    def members(self) -> tuple[str, ...]:
        """Suffixes to read of the base shard."""
        if self.whole:
            return self.sample.layout.names
        return (*self.frames, *(name for name in (self.fbank, self.sound) if name), *self.masks)

    def wanted(self) -> list[ByteRange]:
        """The members' ranges in the base shard."""
        return [self.member(name) for name in self.members]

    def member(self, name: str) -> ByteRange:
        """The range of one member of the base shard, by its suffix."""
        sample = self.sample
        return ByteRange(sample.shard, f"{sample.key}.{name}", *sample.range(name))


def request_row(
    order: Order, rows: Rows, at: int, index: int, spec: BatchSpec, policy: Policy
) -> Request:
    """What to read for the row at `at`, from the sample `index`: the row's, or a stand-in.

    Raises BadSampleError where the sample has not what the spec asks for.
    """
    draw = Draw(order.seed, rows.epoch, int(rows.places[at]))
    return request(order.samples, index, spec, policy, draw, partial(order.pool, rows, at))


def request(
    samples: SampleList,
    index: int,
    spec: BatchSpec,
    policy: Policy,
    draw: Draw,
    pool: Callable[[], Indices],
) -> Request:
    """What to read for a row, its mixup partner's part included. pool: whom it may be mixed with.

    Raises BadSampleError where the sample has not what the spec asks for.
    """
    choice = draw.generator(Purpose.MIXUP) if spec.mixing else None
    if choice is None or choice.random() >= spec.augment.mixup:
        return _request(samples, index, spec, policy, draw)
    own = _request(samples, index, spec, policy, draw, mixed=True)
    others = pool()
    other = int(others[choice.integers(len(others))])
    share = float(choice.beta(spec.augment.mixup_beta, spec.augment.mixup_beta))
    # The partner's own frames and crop: a place of its own, beyond those of any epoch.
    apart = Draw(draw.seed, draw.epoch, draw.place + (1 << 62))
    partner = _request(samples, other, spec, policy, apart, mixed=True)
    return replace(own, partner=partner, share=share)


def _request(
    samples: SampleList,
    index: int,
    spec: BatchSpec,
    policy: Policy,
    draw: Draw,
    mixed: bool = False,
) -> Request:
    sample = samples.sample(index)
    mixed = mixed and spec.augment.mixup_domain == "waveform" and "audio" in spec.read
    sound = "waveform" in spec.read or mixed
    features, crcs = _features(samples, sample, spec)
    try:
        return Request(
            sample=sample,
            draw=draw,
            frames=_frames(sample, spec, draw) if "video" in spec.read else (),
            fbank=_first(sample, ("fbank.npy",)) if "audio" in spec.read and not mixed else None,
            sound=_first(sample, _SOUND) if sound else None,
            features=features,
            feature_crcs=crcs,
            masks=_masks(sample) if "masks" in spec.read else (),
            whole=_checked(policy, draw),
        )
    except (StoreError, ValueError) as error:
        raise BadSampleError(
            BadSample(sample.clip_id, sample.shard.path, None, str(error))
        ) from error


def _frames(sample: Sample, spec: BatchSpec, draw: Draw) -> tuple[str, ...]:
    names = sample.layout.frames
    choices = draw.generator(Purpose.FRAMES) if spec.random else None
    chosen = choose_frames(
        spec.chosen_frames,
        len(names),
        spec.frames,
        spec.seconds,
        choices,
        sample.frame_times,
        spec.frame_times,
    )
    return tuple(names[index] for index in chosen)


def _masks(sample: Sample) -> tuple[str, ...]:
    """`mask_<second>.png`, as AVSBench's shards have them; none for a clip without."""
    return tuple(name for name in sample.layout.names if name.startswith("mask_"))


def _first(sample: Sample, suffixes: tuple[str, ...]) -> str:
    for name in suffixes:
        if name in sample.layout.slots:
            return name
    sample.range(suffixes[0])  # says what it has instead
    raise AssertionError


def _features(
    samples: SampleList, sample: Sample, spec: BatchSpec
) -> tuple[tuple[tuple[str, ByteRange], ...], tuple[int, ...]]:
    found, crcs = [], []
    for name in spec.read:
        if name in BASE:
            continue
        if f"{name} start" not in samples.table.column_names:
            raise StoreError(
                f"the sample list was made without {name!r}: sample_list(…, features=[{name!r}])"
            )
        values = {
            part: int(samples.numbers(f"{name} {part}")[sample.index])
            for part in ("shard", "start", "size", "crc32")
        }
        shard: Shard = samples.companions[values["shard"]]
        feature = shard.path.rsplit("/", 1)[-1].split(".")[1].rpartition("-")[0]
        member = f"{sample.key}.{feature}.npy"
        found.append((name, ByteRange(shard, member, values["start"], values["size"])))
        crcs.append(values["crc32"])
    return tuple(found), tuple(crcs)


def _checked(policy: Policy, draw: Draw) -> bool:
    if policy.checksum == "sampled":
        return draw.generator(Purpose.CHECK).random() * policy.sampled_one_in < 1
    return policy.checksum == "always"
