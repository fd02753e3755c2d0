"""FLAVA (Lee et al. 2023): the first version of the STELLA paper, under its own names.

Localized audio-video alignment (LAVA) is what STELLA calls LPIS, forget-robust multimodal patch
selection (FRS) is its RCA, and FLAVA's pruning-probability matrix is its correlation score. The
published results of FLAVA and STELLA are the same digits, and no code of FLAVA was published: so
this is the same computation, and a run of the one equals a run of the other.
"""

from avstore.train.methods.stella import STELLA


class FLAVA(STELLA):
    """Localized alignment (`lpis`), forget-robust selection (`rca`), replay with drift."""
