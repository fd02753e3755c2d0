"""Load weights into AVSA's networks: of a run, or the released checkpoints."""

import re
from pathlib import Path

from avstore.manifests.foreign_files import load_tensors
from avstore.manifests.store import StoreError
from avstore.train.errors import UserError
from avstore.train.systems.avsa.model import AlignmentNet
from avstore.train.systems.state_dicts import State, fit_state_dict, read_state_dict, renamed

_CRITERION = "train_criterion"
_ENCODERS = ("video.", "audio.")

# The released classes' modules, and ours.
_VIDEO_LAYERS = {
    "spt_conv1": "space1",
    "spt_bn1": "space1_norm",
    "tmp_conv1": "time1",
    "tmp_bn1": "time1_norm",
    "spt_conv2": "space2",
    "spt_bn2": "space2_norm",
    "tmp_conv2": "time2",
    "out_bn": "norm",
    "res_conv": "shortcut",
}
_AUDIO_LAYERS = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4"}
_PREDICTOR_LAYERS = {
    "attention": "first",
    "attention_norm": "first_norm",
    "dense": "second",
    "dense_norm": "second_norm",
    "dense1": "first",
    "dense1_norm": "first_norm",
    "dense2": "second",
    "dense2_norm": "second_norm",
}
_HEADS = {
    "video_head": "video",
    "audio_head": "audio",
    "video_pred_head": "predicted_video",
    "audio_pred_head": "predicted_audio",
    "video_projection": "video",
    "audio_projection": "audio",
}
_STEM = re.compile(r"(video|audio)_model\.conv1\.(.+)")
_VIDEO = re.compile(r"video_model\.conv([2-5])x\.(?:(\d+)\.)?(\w+)\.(.+)")
_AUDIO = re.compile(r"audio_model\.block([1-4])\.(\w+)\.(.+)")
_PREDICTOR = re.compile(r"losses\.0\.(v2a|a2v)_transformer\.transformer\.(\d+)\.(\w+)\.(.+)")
_HEAD = re.compile(r"losses\.0\.(\w+)\.projection\.0\.(.+)")


def load_weights(model: AlignmentNet, path: Path) -> bool:
    """Load a file: a released `checkpoint*.pth.tar`, or a state dict of ours.

    If its model has other predictors, or none, the encoders alone are loaded, as the curriculum
    does from audio-visual correspondence to spatial alignment.

    Returns:
        Whether all of the model was in the file.

    Raises:
        UserError: The file is damaged, or its tensors do not fit; the error names them.
    """
    state, own = read_weights(path), model.state_dict()
    whole = _predictors(state) == _predictors(own)
    if not whole:
        state = {name: value for name, value in state.items() if name.startswith(_ENCODERS)}
        state = {**{k: v for k, v in own.items() if not k.startswith(_ENCODERS)}, **state}
    fit_state_dict(model, state, path)
    return whole


def load_backbone(model: AlignmentNet, path: Path, *, context: bool) -> None:
    """Load the encoders of a file, and predictors if it has the model's, for an evaluation.

    Args:
        model: The networks.
        path: As `load_weights` takes it.
        context: Whether the predictors are needed.

    Raises:
        UserError: The file is damaged, or does not fit, or has no predictors and they are needed.
    """
    state, own = read_weights(path), model.state_dict()
    if context and _predictors(state) != _predictors(own):
        raise UserError(
            f"{path} has other predictors than these settings need, or none; give weights "
            "of alignment, of a run of config avsa"
        )
    whole = _predictors(state) == _predictors(own)
    parts = (*_ENCODERS, "audio_predictor.", "video_predictor.") if whole else _ENCODERS
    found = {name: value for name, value in state.items() if name.startswith(parts)}
    kept = {name: value for name, value in own.items() if not name.startswith(parts)}
    fit_state_dict(model, {**kept, **found}, path)


def read_head(path: Path) -> State:
    """Return the head of an evaluation's weights, by its own names; empty if there is none."""
    prefix, state = "head.", read_weights(path)
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def read_weights(path: Path) -> State:
    """Return the state dict of a file by our names.

    Raises:
        UserError: It is damaged, or has tensors without a place in the networks.
    """
    state = read_state_dict(path)
    if not any(name.startswith("video_model.") for name in state):
        return {name.removeprefix("model."): value for name, value in state.items()}
    return renamed(state | _criterion(path), _rename, path)


def _criterion(path: Path) -> State:
    """Return the tensors that a released checkpoint keeps with its loss."""
    try:
        found = load_tensors(path)
    except StoreError as error:  # pragma: no cover -- read before
        raise UserError(f"{error}; give a file of weights that is whole") from error
    found = found.get(_CRITERION) if isinstance(found, dict) else None
    state = found if isinstance(found, dict) else {}
    return {name.removeprefix("module."): value for name, value in state.items()}


def _predictors(state: State) -> frozenset[str]:
    """Return the names of a model's predictors."""
    return frozenset(name for name in state if name.split(".")[0].endswith("_predictor"))


def _rename(name: str) -> str | None:
    if match := _STEM.fullmatch(name):
        return f"{match[1]}.stem.{match[2]}"
    if (match := _VIDEO.fullmatch(name)) and match[3] in _VIDEO_LAYERS:
        return (
            f"video.stages.{int(match[1]) - 2}.{match[2] or 0}.{_VIDEO_LAYERS[match[3]]}.{match[4]}"
        )
    if (match := _AUDIO.fullmatch(name)) and match[2] in _AUDIO_LAYERS:
        return f"audio.blocks.{int(match[1]) - 1}.layers.{_AUDIO_LAYERS[match[2]]}.{match[3]}"
    if (match := _PREDICTOR.fullmatch(name)) and match[3] in _PREDICTOR_LAYERS:
        kind = {"v2a": "audio_predictor", "a2v": "video_predictor"}[match[1]]
        rest = match[4].replace("dense.", "out.") if match[3] == "attention" else match[4]
        return f"{kind}.layers.{match[2]}.{_PREDICTOR_LAYERS[match[3]]}.{rest}"
    if (match := _HEAD.fullmatch(name)) and match[1] in _HEADS:
        return f"heads.{_HEADS[match[1]]}.{match[2]}"
    return None
