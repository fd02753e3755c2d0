"""Load weights into the extractor: of a run, of ImageNet, or as UAVM's authors released them."""

from pathlib import Path

from avstore.train.errors import UserError
from avstore.train.systems.convnext.model import ConvNextAudio
from avstore.train.systems.state_dicts import State, fit_state_dict, read_state_dict

_STEM = "features.0.0.weight"
_RELEASED = {"model.0": "features", "model.2": "classifier"}  # children of UAVM's class
_HEAD = "classifier.2."


def load_weights(model: ConvNextAudio, path: Path) -> None:
    """Load a file into a model.

    A stem of three channels, as ImageNet's, is summed over them. A classifier of another number of
    classes is left out, and the model's own kept.

    Raises:
        UserError: The file is damaged, or its tensors do not fit; the error names them.
    """
    state = _plain_names(read_state_dict(path))
    if _STEM not in state:
        raise UserError(f"{path} holds no ConvNeXt: it has no tensor {_STEM}")
    if state[_STEM].shape[1] == 3:
        state[_STEM] = state[_STEM].sum(1, keepdim=True)
    own = model.state_dict()
    if _differs(state, own):
        state |= {name: value for name, value in own.items() if name.startswith(_HEAD)}
    fit_state_dict(model, state, path)


def _differs(state: State, own: State) -> bool:
    """Return whether a file's classifier has another number of classes, or there is none."""
    name = f"{_HEAD}weight"
    return name not in state or state[name].shape != own[name].shape


def _plain_names(state: State) -> State:
    found = {}
    for name, value in state.items():
        head = ".".join(name.split(".")[:2])
        found[name.replace(head, _RELEASED[head], 1) if head in _RELEASED else name] = value
    return found
