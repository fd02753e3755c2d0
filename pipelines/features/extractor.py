"""What an extractor is: one small file that turns what is stored of a clip into one array."""

from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Place, Weights

Batch = Callable[[NDArray[Any]], NDArray[Any]]
"""A loaded model: items (B, …) in, outputs (B, …) out, row by row."""


class FeatureError(StoreError):
    """A feature that cannot be computed as asked: what was wrong, the value, what to do."""


@runtime_checkable
class Extractor(Protocol):
    """A derived feature. Instances are frozen dataclasses; their fields are the parameters.

    name: of the feature, in file names; lower case, digits and '-'. version: raise it whenever
    the code gives other numbers. reads: which of 'frames', 'audio', 'fbank', 'labels' of a clip;
    ('text',) alone makes it a feature of the dataset's labels instead of its clips.
    shape: of one clip's value, None where it varies; dtype: NumPy's name of it. libraries: the
    packages whose versions change the numbers. weights: where they come from, None without any.
    batch_size: items a batch, unless the caller says otherwise.
    Nothing heavy is imported before `load`.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    libraries: ClassVar[tuple[str, ...]]
    weights: ClassVar[Place | None]
    batch_size: ClassVar[int]

    @property
    def shape(self) -> tuple[int | None, ...]: ...

    @property
    def dtype(self) -> str: ...

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """What of a clip goes through the model: (n, …), n at least 1. Runs in a thread."""
        ...

    def load(self, weights: Weights, device: str) -> Batch:
        """The model on `device` ('cpu', 'cuda:0'), once a worker process."""
        ...

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """The clip's value, of `shape` and `dtype`, from its items' outputs (n, …)."""
        ...


def parameters_of(extractor: Extractor) -> dict[str, Any]:
    """The extractor's parameters: its dataclass fields."""
    if is_dataclass(extractor) and not isinstance(extractor, type):
        return asdict(extractor)
    return {}


def check_value(extractor: Extractor, value: NDArray[Any], clip_id: str) -> None:
    """Raises FeatureError where a value has another shape or dtype, or is not finite."""
    import numpy as np  # noqa: PLC0415 -- beside its use

    wanted = extractor.shape
    fits = len(value.shape) == len(wanted) and all(
        size in (None, found) for size, found in zip(wanted, value.shape, strict=True)
    )
    if not fits or str(value.dtype) != extractor.dtype:
        raise FeatureError(
            f"{extractor.name} of {clip_id} has shape {value.shape} and type {value.dtype}, "
            f"and its extractor says {wanted} and {extractor.dtype}"
        )
    if not np.isfinite(value).all():
        raise FeatureError(f"{extractor.name} of {clip_id} holds values that are not finite")
