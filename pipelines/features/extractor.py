"""Define the extractor protocol: a plug-in that turns a stored clip into one array."""

from collections.abc import Callable
from dataclasses import asdict, field, fields, is_dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from numpy.typing import NDArray

from avstore.manifests.store import StoreError
from avstore.pipelines.features.stored_clip import StoredClip
from avstore.pipelines.features.weights import Weights, WeightsSource

BatchFunction = Callable[[NDArray[Any]], NDArray[Any]]
"""A loaded model: takes items (B, …) and returns outputs (B, …), row by row."""


class FeatureError(StoreError):
    """Report a feature that cannot be computed: what is wrong, the value, what to do."""


@runtime_checkable
class Extractor(Protocol):
    """Compute a derived feature. Instances are frozen dataclasses; fields are the parameters.

    Import heavy libraries in `load`, not at the top of the module.

    Attributes:
        name: Name of the feature, as in file names: lower case, digits and '-'.
        version: Raise it whenever the code gives other values.
        reads: Which of 'frames', 'video', 'waveform', 'fbank', 'labels' of a clip it reads;
            ('text',) alone makes it a feature of the dataset's labels instead of its clips.
        libraries: Packages whose versions change the values.
        weights: The official source of its weights; None for an extractor without weights.
        batch_size: Default number of items per batch.
        shape: Shape of one clip's value; None for an axis whose size varies.
        dtype: NumPy's name of the value's type.

    An extractor may also have `bases`, the names of the recipes that it needs (`bases_of`).
    """

    name: ClassVar[str]
    version: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    libraries: ClassVar[tuple[str, ...]]
    weights: ClassVar[WeightsSource | None]
    batch_size: ClassVar[int]

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape of one clip's value."""
        ...

    @property
    def dtype(self) -> str:
        """Return NumPy's name of the value's type."""
        ...

    def items(self, clip: StoredClip) -> NDArray[Any]:
        """Return a clip's input to the model, (n, …) with n at least 1. Runs in a thread."""
        ...

    def load(self, weights: Weights, device: str) -> BatchFunction:
        """Load the model on `device` ('cpu', 'cuda:0'), once per worker process."""
        ...

    def value(self, outputs: NDArray[Any], clip: StoredClip) -> NDArray[Any]:
        """Return the clip's value, of `shape` and `dtype`, from its items' outputs (n, …)."""
        ...


def reads_of(extractor: Extractor) -> tuple[str, ...]:
    """Return what an extractor reads; `waveform` for `audio`, as users' extractors may say."""
    return tuple("waveform" if what == "audio" else what for what in extractor.reads)


def bases_of(extractor: Extractor) -> tuple[str, ...]:
    """Return the recipes whose shards have what an extractor needs: its optional `bases`.

    The first is the one to build with. Without any, every recipe will do.
    """
    return tuple(getattr(extractor, "bases", ()))


def parameter_names(extractor: Extractor) -> tuple[str, ...]:
    """Return the names of the extractor's parameters: its dataclass fields."""
    return tuple(each.name for each in fields(extractor)) if is_dataclass(extractor) else ()


def parameters_of(extractor: Extractor) -> dict[str, Any]:
    """Return the extractor's parameters, without those that are `added` and at their default."""
    if not is_dataclass(extractor) or isinstance(extractor, type):
        return {}
    unchanged = {
        each.name
        for each in fields(extractor)
        if each.metadata.get("added") and getattr(extractor, each.name) == each.default
    }
    return {name: value for name, value in asdict(extractor).items() if name not in unchanged}


def added(default: Any) -> Any:
    """Return a parameter that an extractor did not have at first.

    At its default, it is no part of the fingerprint, so that values computed before stay current.
    """
    return field(default=default, metadata={"added": True})


def check_value(extractor: Extractor, value: NDArray[Any], clip_id: str) -> None:
    """Check a computed value.

    Raises:
        FeatureError: It has another shape or dtype than the extractor declares, or is not finite.
    """
    import numpy as np  # noqa: PLC0415 -- listing extractors does not need it

    wanted = extractor.shape
    fits = len(value.shape) == len(wanted) and all(
        size in (None, found) for size, found in zip(wanted, value.shape, strict=True)
    )
    if not fits or str(value.dtype) != extractor.dtype:
        raise FeatureError(
            f"{extractor.name} of {clip_id} has shape {value.shape} and type {value.dtype}, "
            f"but its extractor declares {wanted} and {extractor.dtype}"
        )
    if not np.isfinite(value).all():
        raise FeatureError(f"{extractor.name} of {clip_id} holds values that are not finite")
