"""What the section `data` of a config means for the loader."""

from collections.abc import Iterable

from avstore.train.data import Augment, ErrorPolicy
from avstore.train.data.arrangement import Arrangement
from avstore.train.sections import DataConfig


def augment(data: DataConfig) -> Augment:
    """Return the random augmentation of training."""
    return Augment(
        crop=data.crop,
        noise=data.noise,
        roll=data.roll,
        freq_mask=data.freq_mask,
        time_mask=data.time_mask,
        mixup=data.mixup,
        mixup_domain=data.mixup_domain,
        mixup_beta=data.mixup_beta,
        feature_roll=data.feature_roll,
    )


def arrangement(data: DataConfig) -> Arrangement:
    """Return the order of training."""
    if data.balanced:
        return "balanced"
    return "groups" if data.shuffle == "videos" else data.shuffle


def refuse_unused(data: DataConfig, unused: Iterable[str], what: str) -> None:
    """Check that keys which mean nothing have their defaults.

    Args:
        data: The section `data`.
        unused: The keys.
        what: What they mean nothing to.

    Raises:
        ValueError: Another value is set.
    """
    for key in unused:
        if getattr(data, key) != DataConfig.model_fields[key].default:
            raise ValueError(f"data.{key} means nothing to {what}; leave it out")


def policy(data: DataConfig) -> ErrorPolicy:
    """Return what to do about clips that cannot be read."""
    return ErrorPolicy(on_bad=data.on_bad, checksum=data.checksum)
