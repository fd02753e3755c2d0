"""Which patches are trained on: importance, forget-robust pruning, and the draw."""

from train.selection.draw import sample_order, select_audio, select_video
from train.selection.importance import Alignment, forgetting, localise

__all__ = ["Alignment", "forgetting", "localise", "sample_order", "select_audio", "select_video"]
