"""FLAVA (Lee et al., arXiv 2310.08204v1, 2023): the first version of the STELLA paper.

Its localized audio-video alignment (LAVA) is STELLA's LPIS, its forget-robust multimodal patch
selection (FRS) is STELLA's RCA, and its pruning-probability matrix is STELLA's correlation score.
The published results are equal to the digit and FLAVA's code was not published, so this is the same
computation: a run of one equals a run of the other.
"""

from avstore.train.methods.stella import STELLA


class FLAVA(STELLA):
    """STELLA under its first name: LAVA is the option `lpis`, FRS the option `rca`."""
