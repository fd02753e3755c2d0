"""Scores of events by the second, in percent."""

from torch import Tensor


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
