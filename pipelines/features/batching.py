"""Run models over batches that are filled across clips, however few items a clip has."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import BatchFunction, FeatureError

_Item = tuple[int, int, NDArray[Any]]  # position of the clip, row, content


def torch_batch_function(model: Any, device: str, forward: Callable[[Any], Any]) -> BatchFunction:
    """Wrap a torch model as a batch function: evaluation mode, no gradients, true float32.

    TensorFloat-32 is off: with it, values on a GPU differ from a CPU's in the third digit.

    Args:
        model: A torch module; it is moved to `device`.
        device: `cpu` or `cuda:<n>`.
        forward: Takes and returns tensors on `device`.
    """
    import torch  # noqa: PLC0415 -- heavy

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model.eval().requires_grad_(False).to(device)

    def run(items: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            inputs = torch.from_numpy(np.ascontiguousarray(items)).to(device)
            outputs: NDArray[Any] = forward(inputs).float().cpu().numpy()
            return outputs

    return run


def run_in_batches(
    clips: Iterable[tuple[int, NDArray[Any]]], run: BatchFunction, size: int, first: int = 0
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield each clip's outputs in the order of `clips`.

    How items fall into batches depends on the clips and on `size` alone.

    Args:
        clips: (position, items (n, …)) per clip.
        run: The model.
        size: Items per batch.
        first: Position of the first clip to yield. The batches are those of all clips, as their
            composition may change the last digits, but those of earlier clips alone are not run.

    Yields:
        (position, outputs (n, …)) per clip.

    Raises:
        FeatureError: A clip has no items, or the model returns another number of rows.
    """
    queue = _BatchQueue(size)
    outputs: dict[int, list[Any]] = {}
    missing: dict[int, int] = {}
    for position, items in clips:
        if not len(items):
            raise FeatureError(f"the clip at position {position} gave no items for the model")
        outputs[position] = [None] * len(items)
        missing[position] = len(items)
        for row, content in enumerate(items):
            if full := queue.add((position, row, np.asarray(content))):
                _run(full, run, outputs, missing, first)
        yield from _complete(outputs, missing, first)
    for batch in queue.drain():
        _run(batch, run, outputs, missing, first)
    yield from _complete(outputs, missing, first)


@dataclass
class _BatchQueue:
    """Hold items until a batch is full, by shape: items of several sizes cannot be stacked."""

    size: int
    waiting: dict[tuple[Any, ...], list[_Item]] = field(default_factory=dict)

    def add(self, item: _Item) -> list[_Item]:
        """Add an item; return a full batch or nothing. At most four batches of items wait."""
        content = item[2]
        kind = content.dtype.kind  # strings of several lengths share a batch
        key = (content.shape, kind if kind == "U" else content.dtype.str)
        rows = self.waiting.setdefault(key, [])
        rows.append(item)
        if len(rows) >= self.size:
            return self.waiting.pop(key)
        if sum(map(len, self.waiting.values())) >= 4 * self.size:
            return self.waiting.pop(max(self.waiting, key=lambda k: len(self.waiting[k])))
        return []

    def drain(self) -> Iterator[list[_Item]]:
        """Yield the incomplete batches."""
        while self.waiting:
            yield self.waiting.pop(next(iter(self.waiting)))


def _run(
    batch: list[_Item],
    run: BatchFunction,
    outputs: dict[int, list[Any]],
    missing: dict[int, int],
    first: int,
) -> None:
    """Run one batch, unless no clip from `first` on has a part in it; file its rows."""
    if all(position < first for position, _, _ in batch):
        for position, _, _ in batch:
            missing[position] -= 1
        return
    rows = run(np.stack([content for _, _, content in batch]))
    if len(rows) != len(batch):
        raise FeatureError(f"a batch of {len(batch)} items gave {len(rows)} outputs")
    for (position, row, _), output in zip(batch, rows, strict=True):
        outputs[position][row] = output
        missing[position] -= 1


def _complete(
    outputs: dict[int, list[Any]], missing: dict[int, int], first: int
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Drop the clips at the front that are complete; yield those from `first` on, in order."""
    while outputs and not missing[next(iter(outputs))]:
        position = next(iter(outputs))
        del missing[position]
        rows = outputs.pop(position)
        if position >= first:
            yield position, np.stack(rows)
