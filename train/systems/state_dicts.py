"""Read state dicts from files and fit them to a module; used by every system."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from avstore.manifests.foreign_files import load_tensors
from avstore.manifests.store import StoreError
from avstore.train.errors import UserError

State = dict[str, Tensor]


def read_state_dict(
    path: Path,
    wrappers: tuple[str, ...] = ("model", "state_dict", "method"),
    prefixes: tuple[str, ...] = ("module.",),
) -> State:
    """Return the state dict of a file; no code in the file runs.

    Args:
        path: The file.
        wrappers: Keys under which the state dict may be, if it is not at the file's top.
        prefixes: Prefixes to remove from all keys, in this order; "module." is DataParallel's.

    Raises:
        UserError: The file does not exist, is damaged, or holds no state dict.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file of weights, such as its task-01.pt")
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the file of the weights")
    try:
        loaded = load_tensors(path)
    except StoreError as error:
        raise UserError(f"{error}; give a file of weights that is whole") from error
    if isinstance(loaded, dict):
        inside = (loaded[name] for name in wrappers if isinstance(loaded.get(name), dict))
        loaded = next(inside, loaded)
    if not isinstance(loaded, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise UserError(f"{path} is not a state dict of tensors; give a file of weights")
    if not loaded:
        raise UserError(f"{path} holds no tensor; give a file of weights")
    for prefix in prefixes:
        if any(key.startswith(prefix) for key in loaded):
            loaded = {key.removeprefix(prefix): value for key, value in loaded.items()}
    return loaded


def renamed(state: State, rename: Callable[[str], str | None], path: Path) -> State:
    """Return a state dict of released classes in our names.

    Args:
        state: The state dict.
        rename: Returns our name of a key, None for a key without a place.
        path: The file it came from, for the error.

    Raises:
        UserError: Keys have no place in the model.
    """
    names = {name: rename(name) for name in state}
    if unknown := [name for name, ours in names.items() if ours is None]:
        raise UserError(f"{path} has keys without a place in the model: {some_of(unknown)}")
    return {ours: state[name] for name, ours in names.items() if ours is not None}


def fit_state_dict(module: nn.Module, state: State, path: Path) -> None:
    """Load a state dict into a module.

    Args:
        module: The module.
        state: The state dict, by the module's names.
        path: The file it came from, for the error.

    Raises:
        UserError: Naming the keys that are missing, unknown or of another shape.
    """
    own = module.state_dict()
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    for what, keys in (
        ("not in the file", own.keys() - state.keys()),
        ("not in the model", state.keys() - own.keys()),
        ("another shape", shapes),
    ):
        if keys:
            raise UserError(
                f"{path} does not fit: {what}: {some_of(keys)}; give the weights of a model of "
                "this size, or the config that they were trained with"
            )
    module.load_state_dict(state)


def some_of(keys: Iterable[str], most: int = 6) -> str:
    """Return the first keys of many, for an error."""
    names = sorted(keys)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def saved_config(path: Path) -> dict[str, Any]:
    """Return the configuration in a checkpoint of this trainer, empty for other files.

    Raises:
        UserError: The file does not exist.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist; give the file of the weights")
    try:
        loaded = load_tensors(path, mmap=True)
    except Exception:  # whoever reads the tensors reports what is wrong with it
        return {}
    config = loaded.get("config") if isinstance(loaded, dict) else None
    return dict(config) if isinstance(config, dict) else {}
