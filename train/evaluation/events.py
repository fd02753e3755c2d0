"""Loss and scores of events by the second; scores are in percent."""

from torch import Tensor
from torch.nn import functional as F


def event_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of each clip's seconds [N]; two labels count half each.

    Args:
        logits: [N, seconds, C].
        targets: 0 or 1, [N, seconds, C], at least one 1 a second.
    """
    shares = targets / targets.sum(-1, keepdim=True)
    pairs = (logits.flatten(0, 1), shares.flatten(0, 1))
    return F.cross_entropy(*pairs, reduction="none").reshape(logits.shape[:2]).mean(1)


def event_accuracy(scores: Tensor, targets: Tensor) -> dict[str, float]:
    """Score AVE's events: the share of seconds whose highest class is one of the second's labels.

    Most seconds have one label; 45 clips of AVE have seconds with two.

    Args:
        scores: Logits or probabilities [N, seconds, C].
        targets: 0 or 1, [N, seconds, C].

    Returns:
        `accuracy`.
    """
    highest = scores.argmax(-1, keepdim=True)
    return {"accuracy": 100 * float(targets.gather(-1, highest).float().mean())}


def event_accuracy_by_class(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the share of each class's seconds whose highest class it is, nan without any, [C].

    Args:
        scores: Logits or probabilities [N, seconds, C].
        targets: 0 or 1, [N, seconds, C].
    """
    hits = F.one_hot(scores.argmax(-1), targets.shape[-1]) * targets
    return 100 * hits.double().sum((0, 1)) / targets.double().sum((0, 1))
