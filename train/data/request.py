"""Decide what to read of a sample before anything is read: its random choices and byte ranges."""

from dataclasses import dataclass, replace
from functools import cache

from avstore.manifests.shard_reader import BadSample, BadSampleError, ByteRange
from avstore.manifests.store import StoreError
from avstore.train.data.frame_request import ChosenFrames, VideoRequest, request_frames
from avstore.train.data.order import Order, Rows, row_key
from avstore.train.data.rng import Purpose, RandomKey
from avstore.train.data.samples import SampleList, SampleRow
from avstore.train.data.spec import BatchSpec, ErrorPolicy

# What `BatchSpec.read` can name beside derived features.
BASE_MEMBERS = ("frames", "waveform", "fbank", "masks")
WAVEFORM_SUFFIXES = ("flac", "wav")
_UNKNOWN_CRC = -1


@dataclass(frozen=True, slots=True)
class FeatureRequest:
    """A derived feature to read of a companion shard.

    Attributes:
        name: Name in `BatchSpec.read`.
        member: Byte range.
        crc32: Expected CRC-32 of the content; None if it is not checked.
    """

    name: str
    member: ByteRange
    crc32: int | None


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """What to read of one sample, and the key of its random choices.

    Attributes:
        sample: Row of the list.
        random: Key of the random choices.
        frames: Byte ranges of the chosen frames, in order of time.
        chosen: The chosen frames; None if none are read.
        video: What to read of the stored video, if the frames are its pictures.
        fbank: Byte range of the fbank.
        waveform: Byte range of the waveform.
        masks: (second, byte range) of the masks.
        features: Derived features.
        members: Byte ranges to read of the base shard: those above, or all to check them.
        crc32: Expected CRC-32 of `members` together; None if it is not checked.
        mixing: Whether samples of the batch may be mixed, so that none is written to it directly.
        partner: The sample to mix it with.
        share: This sample's part of the mixture.
    """

    sample: SampleRow
    random: RandomKey
    frames: tuple[ByteRange, ...]
    fbank: ByteRange | None
    waveform: ByteRange | None
    masks: tuple[tuple[int, ByteRange], ...]
    features: tuple[FeatureRequest, ...]
    members: tuple[ByteRange, ...]
    crc32: int | None
    chosen: ChosenFrames | None = None
    video: VideoRequest | None = None
    mixing: bool = False
    partner: "SampleRequest | None" = None
    share: float = 1.0

    @property
    def groups(self) -> tuple[ByteRange, ...]:
        """Byte ranges to read of the stored video."""
        return self.video.ranges if self.video else ()


def request_rows(
    order: Order, rows: Rows, spec: BatchSpec, policy: ErrorPolicy
) -> list[SampleRequest | BadSampleError]:
    """Return the request of each clip of each row, or the error if it lacks what the spec reads."""
    return [
        try_request(order, rows, row, index, spec, policy, clip)
        for row, index in enumerate(rows.indices.tolist())
        for clip in range(spec.clips)
    ]


def try_request(
    order: Order,
    rows: Rows,
    row: int,
    index: int,
    spec: BatchSpec,
    policy: ErrorPolicy,
    clip: int = 0,
) -> SampleRequest | BadSampleError:
    """Return `request_sample`'s request, or the error that it raises."""
    try:
        return request_sample(order, rows, row, index, spec, policy, clip)
    except BadSampleError as error:
        return error


def request_sample(
    order: Order,
    rows: Rows,
    row: int,
    index: int,
    spec: BatchSpec,
    policy: ErrorPolicy,
    clip: int = 0,
) -> SampleRequest:
    """Return what to read for a row, with its mixup partner if it has one.

    Args:
        order: The order of the rows; its pool holds the possible partners.
        rows: The step's rows.
        row: Number of the row in them.
        index: The sample: the row's own, or one that replaces it.
        spec: Settings.
        policy: Its checksum is used.
        clip: Number of the clip, of `spec.clips`.

    Raises:
        BadSampleError: If a sample lacks what the spec reads.
    """
    samples, random = order.samples, row_key(order, rows, row).of_clip(clip)
    if not spec.mixing:
        return _request(samples, index, spec, policy, random, clip)
    generator = random.generator(Purpose.MIXUP)
    if generator.random() >= spec.augment.mixup:
        return replace(_request(samples, index, spec, policy, random, clip), mixing=True)
    own = _request(samples, index, spec, policy, random, clip, mixed=True)
    pool = order.pool(rows, row)
    other = int(pool[generator.integers(len(pool))])
    share = float(generator.beta(spec.augment.mixup_beta, spec.augment.mixup_beta))
    partner = _request(samples, other, spec, policy, random.partner(), clip, mixed=True)
    return replace(own, mixing=True, partner=partner, share=share)


def _request(
    samples: SampleList,
    index: int,
    spec: BatchSpec,
    policy: ErrorPolicy,
    random: RandomKey,
    clip: int,
    mixed: bool = False,
) -> SampleRequest:
    sample = samples.sample(index)
    checked = _is_checked(policy, random)
    features = _features(samples, sample, spec, checked)
    mix_waveforms = mixed and spec.augment.mixup_domain == "waveform" and "fbank" in spec.read
    names = sample.layout.names
    try:
        of_frames = None
        if "frames" in spec.read:
            of_frames = request_frames(samples, sample, spec, random, clip)
        frames = of_frames.jpegs if of_frames else ()
        fbank = ("fbank.npy",) if "fbank" in spec.read and not mix_waveforms else ()
        waveform = _waveform_name(sample) if mix_waveforms or "waveform" in spec.read else ()
        masks = tuple(n for n in names if n.startswith("mask_")) if "masks" in spec.read else ()
        suffixes = (*frames, *fbank, *waveform, *masks)
        members = sample.byte_ranges(suffixes)
    except (StoreError, ValueError) as error:
        raise BadSampleError(
            BadSample(sample.clip_id, sample.shard.path, None, str(error))
        ) from error
    after_frames = iter(members[len(frames) :])
    return SampleRequest(
        sample=sample,
        random=random,
        frames=members[: len(frames)],
        fbank=next(after_frames) if fbank else None,
        waveform=next(after_frames) if waveform else None,
        masks=tuple(zip(map(_second, masks), after_frames, strict=True)),
        features=features,
        members=sample.byte_ranges(names) if checked else members,
        crc32=sample.crc32 if checked and sample.crc32 != _UNKNOWN_CRC else None,
        chosen=of_frames.chosen if of_frames else None,
        video=of_frames.video if of_frames else None,
    )


def _waveform_name(sample: SampleRow) -> tuple[str]:
    stored = [name for name in WAVEFORM_SUFFIXES if name in sample.layout.slots]
    return ((stored or WAVEFORM_SUFFIXES)[0],)


def _second(mask: str) -> int:
    """Return the second of a member `mask_<second>.png`."""
    return int(mask.removeprefix("mask_").removesuffix(".png"))


def _features(
    samples: SampleList, sample: SampleRow, spec: BatchSpec, checked: bool
) -> tuple[FeatureRequest, ...]:
    """Return the derived features that the spec reads.

    Raises:
        StoreError: If the list was made without one of them.
    """
    key, found = sample.key, []
    for name in spec.read:
        if name in BASE_MEMBERS:
            continue
        if not samples.has_numbers(f"{name} start"):
            raise StoreError(
                f"the sample list was made without {name!r}; read {', '.join(BASE_MEMBERS)}, "
                f"or use sample_list(…, features=[{name!r}])"
            )
        shard_number, start, size, crc32 = samples.feature_place(name, sample.index)
        shard = samples.companions[shard_number]
        member = ByteRange(shard, f"{key}.{_feature_of(shard.path)}.npy", start, size)
        known = checked and crc32 != _UNKNOWN_CRC
        found.append(FeatureRequest(name, member, crc32 if known else None))
    return tuple(found)


@cache
def _feature_of(path: str) -> str:
    """Return the feature of a companion shard's path."""
    return path.rsplit("/", 1)[-1].split(".")[1].rpartition("-")[0]


def _is_checked(policy: ErrorPolicy, random: RandomKey) -> bool:
    """Return whether the policy checks this sample's checksums."""
    if policy.checksum == "sampled":
        return random.generator(Purpose.CHECK).random() * policy.sampled_one_in < 1
    return policy.checksum == "always"
