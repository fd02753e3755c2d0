"""What a training step of UAVM minimises, and the modality that it sees."""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from avstore.train.data.rng import Purpose, generator
from avstore.train.systems.uavm.model_config import Modality

Loss = Literal["ce", "bce"]


def row_losses(logits: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return the loss of each row [B]; its mean is the released code's loss.

    Args:
        logits: [B, classes].
        targets: Smoothed and mixed labels [B, classes]. They need not sum to 1: as published, a
            smoothed row without mixup sums to 1 - smoothing / classes.
        loss: Cross-entropy ("ce", VGGSound), or the mean of the classes' binary cross-entropies
            ("bce", AudioSet).
    """
    if loss == "ce":
        return F.cross_entropy(logits.float(), targets, reduction="none")
    each = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    return each.mean(1)


def modality_of_step(seed: int, step: int, audio_share: float = 0.5) -> Modality:
    """Return the modality that a whole step trains ("unified" and "independent").

    A function of seed and step alone, so it is the same on every process and after a resume.

    Args:
        seed: Seed of the run.
        step: Number of the step in the run, from 0.
        audio_share: Probability of audio (the paper's λ_MT).
    """
    drawn = generator(seed, Purpose.MODALITY, 0, step).random()
    return "audio" if drawn < audio_share else "video"
