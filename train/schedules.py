"""Learning-rate schedules that UAVM publishes beside those of `optim`, as pure functions."""

from collections.abc import Iterable

_THRESHOLD = 1e-4  # of torch's ReduceLROnPlateau: a smaller relative gain is none
_WARMUP_SAMPLES = 10_000


def plateau_factor(scores: Iterable[float], factor: float = 0.5, patience: int = 2) -> float:
    """Return the factor of the learning rate after some epochs, as ReduceLROnPlateau gives it.

    The rate is multiplied by `factor` whenever the score has not risen for more than `patience`
    epochs. It depends on the scores alone, so a resumed run has nothing to restore.

    Args:
        scores: Scores of the epochs so far; higher is better.
        factor: Factor of each drop.
        patience: Epochs without a rise before a drop.
    """
    best, waited, found = float("-inf"), 0, 1.0
    for score in scores:
        if score > best * (1 + _THRESHOLD):
            best, waited = score, 0
        else:
            waited += 1
        if waited > patience:
            found, waited = found * factor, 0
    return found


def warmup_factor(step: int, batch_size: int, published: bool = False) -> float:
    """Return the factor of the learning rate in the warm-up of UAVM's audio extractor.

    It rises linearly to 1 over 10,000 samples. The released code sets it only at some steps, and
    never to 1: with its batches of 120 it is 0 in the first 25 steps, then 0.3, 0.6 and, from step
    75 on, 0.9.

    Args:
        step: Number of the step in the run, from 0.
        batch_size: Samples of a step, on all devices.
        published: Compute what the released code computes.

    Raises:
        ValueError: The published rate would be 0 for the whole run.
    """
    if not published:
        return min(1.0, step * batch_size / _WARMUP_SAMPLES)
    a_step = batch_size // 10
    if not a_step:
        raise ValueError(
            f"the published warm-up never leaves 0 with batch_size={batch_size}; use 10 or more"
        )
    counts = (number * a_step for number in range(min(step, 1000 // a_step) + 1))
    return max(count for count in counts if count % 50 == 0) / 1000
