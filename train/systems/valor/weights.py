"""Load weights into a parsing network: of a run, or the released files of VALOR and HAN."""

import re
from pathlib import Path

from avstore.train.systems.state_dicts import (
    fit_state_dict,
    read_state_dict,
    renamed,
)
from avstore.train.systems.valor.model import ParsingNet

# The released classes' modules, and ours.
_MODULES = {
    "fc_prob": "event",
    "fc_frame_att": "time_weight",
    "fc_av_att": "modality_weight",
    "fc_a": "audio",
    "fc_v": "visual",
    "fc_st": "motion",
    "fc_fusion": "fusion",
}
_PARTS = {
    "self_attn": "self_attention",
    "cm_attn": "cross_attention",
    "linear1": "up",
    "linear2": "down",
    "norm1": "norm1",
    "norm2": "norm2",
}
_LAYER = re.compile(r"hat_encoder\.layers\.(\d+)\.(\w+)\.(.+)")
_UNUSED = re.compile(r"((audio|visual|cmt)_encoder|hat_encoder\.(final_)?norm)")


def load_weights(model: ParsingNet, path: Path) -> None:
    """Load a file: a released `checkpoint_best.pt`, HAN's `MMIL_Net.pt`, or a state dict of ours.

    Parameters that no step uses are left out, unless the model has them.

    Raises:
        UserError: The file is damaged, or its tensors do not fit; the error names them.
    """
    state = read_state_dict(path)
    if not state.keys() & model.state_dict().keys():
        state = renamed(state, _rename, path)
    unused = {key for key in state if key.startswith("unused.")}
    if model.config.unused == "none":
        state = {key: value for key, value in state.items() if key not in unused}
    elif not unused:
        state |= {k: v for k, v in model.state_dict().items() if k.startswith("unused.")}
    fit_state_dict(model, state, path)


def _rename(name: str) -> str | None:
    module, _, rest = name.partition(".")
    if module in _MODULES:
        return f"{_MODULES[module]}.{rest}"
    if (match := _LAYER.fullmatch(name)) and match[2] in _PARTS:
        return f"layers.{match[1]}.{_PARTS[match[2]]}.{match[3]}"
    return f"unused.{name}" if _UNUSED.match(name) else None
