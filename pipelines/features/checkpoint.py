"""Read checkpoint files and load their tensors into models."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avstore.manifests.errors import first_sentence
from avstore.manifests.foreign_files import load_tensors
from avstore.manifests.store import StoreError
from avstore.pipelines.features.weights import WeightsError

_TABLES = ("position_ids", "token_type_ids", "relative_position_index", "num_batches_tracked")


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Make torch's initialisation depend on the seed alone while open."""
    import torch  # noqa: PLC0415 -- heavy

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        yield


def read_state(path: Path) -> dict[str, Any]:
    """Read the tensors of a checkpoint file, by name.

    Pickled checkpoints are read with `weights_only=True`, so no code in them runs.

    Raises:
        WeightsError: The file is not a checkpoint.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 -- optional

            return dict(load_file(path))
        found = load_tensors(path)
    except StoreError as error:
        raise WeightsError(str(error)) from error
    except Exception as error:  # safetensors has its own errors
        raise WeightsError(
            f"{path} is not a readable checkpoint: {first_sentence(error)}"
        ) from error
    for inner in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(inner), Mapping):
            found = found[inner]
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path} holds a {type(found).__name__}, not a state dict")
    return dict(found)


def strip_prefix(state: Mapping[str, Any], landmark: str) -> dict[str, Any]:
    """Return the entries that share the prefix of `landmark`, without that prefix.

    Checkpoints of wrapped models (`module.`, `model.`) then read like those of the model itself.

    Args:
        state: Tensors by name.
        landmark: Name of a tensor that the model has.

    Raises:
        WeightsError: No entry ends with `landmark`.
    """
    found = [name for name in state if name == landmark or name.endswith(f".{landmark}")]
    if not found:
        raise WeightsError(f"these weights have no {landmark}: they belong to another model")
    prefix = min(found, key=len).removesuffix(landmark)
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def load_state(model: Any, state: Mapping[str, Any], ignore: tuple[str, ...] = ()) -> None:
    """Load a state dict into a model; every tensor must be present and have the model's shape.

    Tables that a model computes itself may be missing or present.

    Args:
        model: A torch module.
        state: Tensors by name.
        ignore: Prefixes of names that the model does not use.

    Raises:
        WeightsError: Tensors are missing, unknown, or of another shape.
    """
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(ignore)}
    try:
        missing, unexpected = model.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        first, *more = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        others = f", and {len(more)} more" if more else ""
        raise WeightsError(
            f"the weights do not fit: {first}{others}; give those of this extractor"
        ) from error
    missing, unexpected = (
        [name for name in names if not name.endswith(_TABLES)] for names in (missing, unexpected)
    )
    if missing or unexpected:
        raise WeightsError(
            f"the weights do not fit: {len(missing)} tensors are missing "
            f"({', '.join(missing[:3])}) and {len(unexpected)} are unknown "
            f"({', '.join(unexpected[:3])})"
        )
