"""Tables of a score over repeated runs, with the axes of the paper's figures."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

Table = list[dict[str, float]]


def against_layer(runs: Mapping[float, ArrayLike], setting: str, score: str) -> Table:
    """Return a score against the layer, one curve a setting (figures 3B and 4, right).

    Args:
        runs: Scores [repeats, layers] of each value of the setting.
        setting: Name of the setting, such as "shared_width".
        score: Name of the score.

    Returns:
        Rows of the setting, `layer` (0 is the paper's "Input"), the score's mean and population
        standard deviation over repeats (`<score>_std`), and the number of `repeats`.

    Raises:
        ValueError: Scores are not [repeats, layers].
    """
    table: Table = []
    for value, scores in sorted(runs.items()):
        found = np.asarray(scores, np.float64)
        if found.ndim != 2 or not len(found):
            raise ValueError(
                f"scores of {setting}={value:g} have shape {found.shape}; give [repeats, layers]"
            )
        rows = zip(found.mean(0), found.std(0), strict=True)
        for layer, (mean, std) in enumerate(rows):
            table.append(
                {
                    setting: value,
                    "layer": layer,
                    score: float(mean),
                    f"{score}_std": float(std),
                    "repeats": len(found),
                }
            )
    return table


def against_setting(runs: Mapping[float, Sequence[float]], setting: str, score: str) -> Table:
    """Return a score against a setting (figures 3A, 4, left, and 5, and those of the accuracies).

    Args:
        runs: Scores of the repeats of each value of the setting.
        setting: Name of the setting, such as "shared_width", "shared_depth" or "audio_share".
        score: Name of the score.

    Returns:
        Rows as of `against_layer`, without `layer`.
    """
    table = against_layer(
        {value: np.reshape(scores, (-1, 1)) for value, scores in runs.items()}, setting, score
    )
    return [{key: value for key, value in row.items() if key != "layer"} for row in table]
