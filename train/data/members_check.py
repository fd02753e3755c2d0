"""Check before the first batch that the clips of a list have what a spec reads of them."""

from collections.abc import Callable, Mapping

import numpy as np

from avstore.manifests.store import StoreError
from avstore.train.data.frame_request import from_video
from avstore.train.data.request import BASE_MEMBERS, WAVEFORM_SUFFIXES
from avstore.train.data.samples import MemberLayout, SampleList
from avstore.train.data.spec import BatchSpec
from avstore.train.data.stages import warn_of_others
from avstore.train.data.video_columns import SUFFIX

_HAS: Mapping[str, Callable[[MemberLayout, BatchSpec], bool]] = {
    "frames": lambda layout, spec: (
        SUFFIX in layout.slots if from_video(layout, spec) else bool(layout.frames)
    ),
    "fbank": lambda layout, _: "fbank.npy" in layout.slots,
    "waveform": lambda layout, _: any(name in layout.slots for name in WAVEFORM_SUFFIXES),
}


def require_members(samples: SampleList, spec: BatchSpec) -> None:
    """Raise StoreError if the spec reads pictures or sound that no clip has, or no base shard has.

    If some clips of base shards have them and others do not, reading decides, by the error policy.
    If it reads them of a list with features, warn of other recipes that hold the clips.
    """
    wanted = [name for name in spec.read if name in BASE_MEMBERS]
    if not wanted:
        return
    if samples.companions:
        warn_of_others(samples.others)
    _require_base(samples, spec, wanted)
    of_mixtures = spec.mixing and spec.augment.mixup_domain == "waveform"
    computed = {"fbank"} if of_mixtures and spec.augment.mixup == 1 else set[str]()
    _require_jpegs(samples, spec)
    lacking = [
        name
        for name in wanted
        if name in _HAS
        and name not in computed
        and not any(_HAS[name](layout, spec) for layout in samples.layouts)
    ]
    if lacking and samples.layouts:
        stages = ", ".join(sorted({stage for _, stage in samples.stages}))
        held = ", ".join(_members(samples.layouts[0], spec))
        raise StoreError(
            f"no clip of the list has {', '.join(lacking)}: it was built by {stages}, which stores "
            f"{held}; build with a recipe that stores {', '.join(lacking)}, or read others with "
            "BatchSpec(read=…)"
        )


def _require_jpegs(samples: SampleList, spec: BatchSpec) -> None:
    """Raise StoreError if the device is to decode the pictures of videos."""
    if spec.decode != "device" or "frames" not in spec.read:
        return
    if any(from_video(layout, spec) for layout in samples.layouts if layout.names):
        raise StoreError(
            "decode='device' decodes JPEGs, and frames of the list are pictures of videos: use "
            "decode='worker', or frame_source='frames' if the clips have both"
        )


def _require_base(samples: SampleList, spec: BatchSpec, wanted: list[str]) -> None:
    """Raise StoreError if some clips have imported features alone."""
    empty = [number for number, layout in enumerate(samples.layouts) if not layout.names]
    if not empty:
        return
    count = int(np.isin(samples.numbers("layout"), empty).sum())
    derived = tuple(name for name in spec.read if name not in BASE_MEMBERS)
    raise StoreError(
        f"{count} of {len(samples)} clips have imported features and no base shard, so no "
        f"{', '.join(wanted)}: read features alone, such as BatchSpec(read={derived or '(…,)'}), "
        "or select clips of the table samples, which have base shards"
    )


def _members(layout: MemberLayout, spec: BatchSpec) -> list[str]:
    """Return what a layout holds, by the names of `BatchSpec.read`."""
    held = [name for name, has in _HAS.items() if has(layout, spec)]
    return held or ["nothing else"]
