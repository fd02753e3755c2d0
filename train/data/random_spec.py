"""Settings of what is random in a batch: augmentation, and what each step reads."""

import math
from dataclasses import dataclass
from typing import Literal

from avstore.train.data.rng import Purpose, generator
from avstore.train.data.setting_checks import require_at_least, require_choice

MixupDomain = Literal["waveform", "feature"]


@dataclass(frozen=True, slots=True)
class Augment:
    """Random augmentation of training samples: none that is not asked for.

    `BatchSpec(random=False)` turns all of it off.

    Attributes:
        crop: STELLA's multi-scale corner crop, the same for all frames of a clip.
        noise: Uniform noise of random strength up to 0.1 on the fbank, then a roll in time.
        roll: Longest roll, in fbank frames; None for any length.
        freq_mask: SpecAugment: longest frequency mask, in mel bins.
        time_mask: SpecAugment: longest time mask, in fbank frames.
        mixup: Probability of mixing a sample with another one of the list.
        mixup_domain: Mix 'waveform's and compute the fbank of the mixture, or mix every 'feature'
            that comes out.
        mixup_beta: Both parameters of the Beta distribution of the sample's own share.
        feature_roll: Longest roll of derived features in time, in rows, the same for all of a
            sample (UAVM: 15).

    Example:
        >>> stella = Augment(crop=True, noise=True)
        >>> BatchSpec(4, augment=stella).augment.crop, BatchSpec(4).augment.crop
        (True, False)
    """

    crop: bool = False
    noise: bool = False
    roll: int | None = None
    freq_mask: int = 0
    time_mask: int = 0
    mixup: float = 0.0
    mixup_domain: MixupDomain = "feature"
    mixup_beta: float = 10.0
    feature_roll: int = 0

    def __post_init__(self) -> None:
        require_choice(self, mixup_domain=MixupDomain)
        if not 0 <= self.mixup <= 1:
            raise ValueError(f"mixup={self.mixup!r} is not a probability in [0, 1]")
        require_at_least(self, 0, "freq_mask", "time_mask", "feature_roll", "roll")
        if not 0 < self.mixup_beta < math.inf:
            raise ValueError(f"mixup_beta={self.mixup_beta!r} is not a positive finite number")


NO_AUGMENT = Augment()


@dataclass(frozen=True, slots=True)
class Turns:
    """Two derived features of which a step reads one, drawn a step (UAVM's modality).

    What a step reads is a function of the seed and the step, the same on every rank.

    Attributes:
        features: The two.
        share: Probability of the first.
        seed: Seed in [0, 2^64).

    Example:
        >>> turns = Turns(("convnext-audio", "convnext-visual"), share=1.0, seed=0)
        >>> turns.feature(step=3)
        'convnext-audio'
    """

    features: tuple[str, str]
    share: float = 0.5
    seed: int = 0

    def takes_first(self, step: int) -> bool:
        """Return whether a step of the run, from 0, reads the first."""
        return bool(generator(self.seed, Purpose.MODALITY, 0, step).random() < self.share)

    def feature(self, step: int) -> str:
        """Return the feature that a step of the run reads."""
        return self.features[0 if self.takes_first(step) else 1]
