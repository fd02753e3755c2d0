"""Batches from step numbers: any step of any epoch, by any rank and any worker."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from avstore.manifests.shard_reader import BadSample, BadSampleError, Reader
from avstore.manifests.store import StoreError
from avstore.train.data.augment import make
from avstore.train.data.batch import Batch
from avstore.train.data.decoded_sample import Piece, Places
from avstore.train.data.device import Jpegs
from avstore.train.data.fbank_finish import FbankFinish
from avstore.train.data.order import Order, Rows
from avstore.train.data.output_buffers import BatchRows
from avstore.train.data.prefetch import announced
from avstore.train.data.request import BASE, Request, request_row
from avstore.train.data.rng import Purpose, generator
from avstore.train.data.samples import SampleList
from avstore.train.data.spec import DEFAULT_POLICY, BatchSpec, Policy
from avstore.train.data.targets import targets
from avstore.train.data.threads import over
from avstore.train.data.transforms import pictures, sound
from avstore.train.data.transforms.masks import by_second

_LOG = logging.getLogger("avstore")
# How many other samples are tried in place of a bad one.
_TRIES = 16


@dataclass(frozen=True)
class Steps(Dataset[Batch]):
    """The batches of an order for one rank: item i is step i. Works with a stock DataLoader,
    with batch_size=None and a sampler of step numbers. ahead: how many steps further the next one
    of this process is, which is read ahead where the store is remote (0: none). threads: how many
    samples are made side by side; the batches are the same."""

    order: Order
    spec: BatchSpec
    policy: Policy = DEFAULT_POLICY
    rank: int = 0
    world_size: int = 1
    ahead: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} is not one of {self.world_size}")
        if not len(self.order):
            _LOG.warning(
                "%d samples make no batch: drop_last leaves out what is less than batch_size",
                len(self.order.samples),
            )
        last = self.order.rows(len(self.order) - 1) if len(self.order) else None
        if last is not None and len(last) < self.world_size:
            raise StoreError(
                f"a batch has {len(last)} sample(s) for {self.world_size} ranks; make batch_size "
                "larger, or choose drop_last or pad_last for the end of an epoch"
            )

    def __len__(self) -> int:
        return len(self.order)

    def rows(self, step: int) -> Rows:
        """This rank's rows of a step."""
        return self.order.rows(step).part(self.rank, self.world_size)

    def __getitem__(self, step: int) -> Batch:
        rows, next_step = self.rows(step), step + self.ahead
        then = self.rows(next_step) if self.ahead and next_step < len(self) else None
        with announced(self.order, rows, then, self.spec, self.policy):
            return build(self.order, rows, self.spec, self.policy, self.threads)


@dataclass(frozen=True)
class Arrays:
    """The large arrays of a batch."""

    pictures: BatchRows
    fbanks: BatchRows

    @staticmethod
    def of(rows: int) -> "Arrays":
        return Arrays(BatchRows(rows, "frames"), BatchRows(rows, "fbanks"))

    def places(self, number: int) -> Places:
        """Where the arrays of the batch's row of this number go."""
        return Places(
            partial(self.pictures.row, number),
            partial(self.fbanks.row, number),
            partial(self.fbanks.usual, number),
        )


def build(order: Order, rows: Rows, spec: BatchSpec, policy: Policy, threads: int = 1) -> Batch:
    """A batch of these rows. Raises BadSampleError where the policy is to raise."""
    arrays = Arrays.of(len(rows))
    ask = partial(_asked, order, rows, spec, policy)
    # Before the first byte: between large copies the same code takes three times as long.
    asked = [ask(at, int(index)) for at, index in enumerate(rows.indices)]

    def usable(at: int) -> tuple[Piece | None, list[BadSample]]:
        candidates = chain([asked[at]], (ask(at, index) for index in _others(order, rows, at)))
        return _usable(candidates, spec, policy, order.samples.reader, arrays.places(at))

    made = list(over(usable, len(rows), threads))
    problems = tuple(problem for _, told in made for problem in told)
    kept = [at for at, (piece, _) in enumerate(made) if piece is not None]
    pieces = [piece for piece, _ in made if piece is not None]
    if not pieces:
        told = "; ".join(str(problem) for problem in problems[:3])
        more = "; a batch needs one that is well" if policy.on_bad == "skip" else ""
        raise BadSampleError(f"every sample of step {rows.step} is bad: {told}{more}")
    return _assemble(order.samples, spec, rows, np.array(kept), pieces, arrays, problems)


def _asked(
    order: Order, rows: Rows, spec: BatchSpec, policy: Policy, at: int, index: int
) -> Request | BadSampleError:
    """What to read for the row at `at`, from the sample `index`; or what keeps it from being."""
    try:
        return request_row(order, rows, at, index, spec, policy)
    except BadSampleError as error:
        return error


def _others(order: Order, rows: Rows, at: int) -> Iterator[int]:
    """Samples to take in place of a bad one; drawn when first asked for."""
    choices = generator(order.seed, Purpose.REPLACE, rows.epoch, int(rows.places[at]))
    words = choices.bit_generator.random_raw(_TRIES - 1)
    pool = order.pool(rows, at)
    yield from (int(pool[word % len(pool)]) for word in words.tolist())


def _usable(
    candidates: Iterable[Request | BadSampleError],
    spec: BatchSpec,
    policy: Policy,
    reader: Reader,
    places: Places,
) -> tuple[Piece | None, list[BadSample]]:
    """The piece of the first that is well, as far as the policy goes; and what was bad."""
    problems: list[BadSample] = []
    for asked in candidates:
        try:
            if isinstance(asked, BadSampleError):
                raise asked
            return make(asked, spec, reader, places), problems
        except BadSampleError as error:
            if policy.on_bad == "raise" or isinstance(error.problem, str):
                raise
            problems.append(error.problem)
        if policy.on_bad == "skip":
            return None, problems
    raise BadSampleError(f"no usable sample after {_TRIES} tries; the last: {problems[-1]}")


def _assemble(
    samples: SampleList,
    spec: BatchSpec,
    rows: Rows,
    kept: NDArray[np.int64],
    pieces: Sequence[Piece],
    arrays: Arrays,
    problems: tuple[BadSample, ...],
) -> Batch:
    video, seen, jpegs = _video(pieces, spec, arrays.pictures)
    audio = arrays.fbanks.filled([piece.fbank for piece in pieces])
    waveform = None
    if "waveform" in spec.read:
        waves = [
            sound.fit(p.waveform, spec.waveform_samples) for p in pieces if p.waveform is not None
        ]
        waveform = _stack(waves, "waveform")
    masks, mask_known = _masks(pieces, spec) if "masks" in spec.read else (None, None)
    return Batch(
        video=video,
        audio=audio[:, None] if audio.ndim == 3 else audio,
        labels=targets(samples, pieces, spec),
        clip_ids=[piece.clip_id for piece in pieces],
        step=rows.step,
        epoch=rows.epoch,
        indices=torch.tensor([piece.index for piece in pieces]),
        origin=torch.from_numpy(rows.origin[kept]),
        padded=torch.from_numpy(rows.padded[kept]),
        audio_frames=torch.tensor([piece.fbank_frames for piece in pieces]),
        audio_roll=torch.tensor([piece.choices.roll for piece in pieces]),
        video_frames=torch.tensor(seen),
        waveform=waveform,
        masks=masks,
        mask_known=mask_known,
        mask_unknown=torch.tensor([piece.unknown_colours for piece in pieces]),
        features={
            name: _stack([piece.features[name] for piece in pieces], name)
            for name in spec.read
            if name not in BASE
        },
        mixed_with=[piece.mixed_with[1] if piece.mixed_with else None for piece in pieces],
        share=torch.tensor([piece.share for piece in pieces]),
        problems=problems,
        jpegs=jpegs,
        normalise_pixels=jpegs is not None or spec.pixels == "uint8",
        finish=_finish(pieces, spec),
    )


def _finish(pieces: Sequence[Piece], spec: BatchSpec) -> FbankFinish | None:
    """What is left to the device to do to fbanks."""
    if spec.fbank == "worker" or "audio" not in spec.read:
        return None
    return FbankFinish.of([piece.choices for piece in pieces], spec.mean, spec.std)


def _masks(pieces: Sequence[Piece], spec: BatchSpec) -> tuple[Tensor, Tensor]:
    """Masks of all pieces, and which seconds have one."""
    size = spec.mask_size or spec.image_size or 0
    made = [by_second(piece.masks, spec.segments, size) for piece in pieces]
    values, known = zip(*made, strict=True)
    return torch.from_numpy(np.stack(values)), torch.from_numpy(np.stack(known))


def _video(
    pieces: Sequence[Piece], spec: BatchSpec, rows: BatchRows
) -> tuple[Tensor, list[int], Jpegs | None]:
    """Frames of all pieces, how many each has, and the JPEGs where the device decodes."""
    size = spec.image_size or 0
    if spec.decode == "device" and "video" in spec.read:
        return _jpegs(pieces, size)
    found = [piece.pictures for piece in pieces if piece.pictures is not None]
    if not found:
        return torch.empty(len(pieces), 0, 3, size, size), [0] * len(pieces), None
    counts = [len(one) for one in found]
    longest = max(counts)
    if min(counts) < longest:  # zeros follow the frames of a clip that has fewer
        found = [np.pad(x, ((0, longest - len(x)), *((0, 0),) * 3)) for x in found]
        rows = BatchRows(len(pieces), "frames")
    video = rows.filled(found).movedim(-1, -3)
    done = spec.pixels == "uint8" or pieces[0].normalised
    return video if done else pictures.normalise(video), counts, None


def _jpegs(pieces: Sequence[Piece], size: int) -> tuple[Tensor, list[int], Jpegs]:
    counts = [len(piece.jpegs) for piece in pieces]
    if len(set(counts)) > 1:
        raise StoreError(
            f"clips have {min(counts)} to {max(counts)} frames: decode='device' needs as many "
            "of each; choose another frame_choice than 'all'"
        )
    files = [jpeg for piece in pieces for jpeg in piece.jpegs]
    boxes = [piece.box for piece in pieces for _ in piece.jpegs]
    empty = torch.empty(len(pieces), counts[0], 3, 0, 0)
    return empty, counts, Jpegs.of(files, boxes, counts[0], size)


def _stack(arrays: Sequence[NDArray[Any]], name: str) -> Tensor:
    """Arrays of one shape as a tensor; none at all as an empty one."""
    if not arrays:
        return torch.empty(0)
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise StoreError(
            f"{name} has the shapes {', '.join(str(shape) for shape in sorted(shapes))} in one "
            "batch: read features with feature_rows, and one recipe at a time"
        )
    return torch.from_numpy(np.stack(arrays))
