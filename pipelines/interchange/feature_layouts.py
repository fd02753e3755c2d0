"""Define the published layouts of features: the folder, shape and type of each, one .npy a clip."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from avstore.pipelines.features.extractor import FeatureError
from avstore.pipelines.features.registry import make_extractor, references

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class FeatureLayout:
    """A feature in the folders from which published code loads it.

    Attributes:
        feature: Name of the feature.
        folder: Its folder below the code's data folder.
        folders: Further folders in which released archives have it.
        shapes: The shapes that its arrays have; empty for that of the extractor.
        dtype: Their NumPy type; empty for that of the extractor.
    """

    feature: str
    folder: str
    folders: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    dtype: str = ""


LAYOUTS: Mapping[str, tuple[FeatureLayout, ...]] = {
    "uavm": (
        # 990 frames of VGGSound give 30 tokens, 1,000 of AudioSet 31.
        FeatureLayout(
            "convnext-audio",
            "audio_feat_convnext_2",
            shapes=((30, 1024), (31, 1024)),
            dtype="float32",
        ),
        FeatureLayout("convnext-visual", "video_feat_convnext_2"),
    ),
    "llp": (
        FeatureLayout("vggish", "feats/vggish", ("vggish",)),
        FeatureLayout("resnet152", "feats/res152", ("res152",)),
        FeatureLayout("r2plus1d18", "feats/r2plus1d_18", ("r2plus1d_18",)),
        FeatureLayout("clip-vitl14", "CLIP/features", ("features",)),
        FeatureLayout("clap-map", "CLAP/features", ("features",)),
        FeatureLayout(
            "valor-clip-labels", "CLIP/segment_pseudo_labels", ("segment_pseudo_labels",)
        ),
        FeatureLayout(
            "valor-clap-labels", "CLAP/segment_pseudo_labels", ("segment_pseudo_labels",)
        ),
    ),
}
"""Layouts by the published code that reads them: UAVM's, and below `data` AVVP's and VALOR's."""

_ALL = tuple(layout for layouts in LAYOUTS.values() for layout in layouts)


@dataclass(frozen=True)
class ValueSpec:
    """The arrays that a feature has.

    Attributes:
        shapes: Allowed shapes; None for an axis whose size varies.
        dtype: NumPy's name of their type.
    """

    shapes: tuple[Shape, ...]
    dtype: str

    @property
    def text(self) -> str:
        """The spec in words, such as 'float32 30 x 1024 or 31 x 1024'; `parse` reads it."""
        shapes = (" x ".join("n" if s is None else str(s) for s in shape) for shape in self.shapes)
        return f"{self.dtype} {' or '.join(shapes)}"

    @staticmethod
    def parse(text: str) -> "ValueSpec":
        """Parse a type and its shapes, such as 'float32 n x 1024'.

        Raises:
            FeatureError: The text is none.
        """
        dtype, _, rest = text.strip().partition(" ")
        try:
            shapes = tuple(
                tuple(None if size.strip() == "n" else int(size) for size in shape.split("x"))
                for shape in rest.split(" or ")
            )
        except ValueError:
            shapes = ()
        if dtype not in _DTYPES or not shapes or any((s or 1) < 1 for x in shapes for s in x):
            raise FeatureError(
                f"--value {text!r} is not a type and a shape; expected one of "
                f"{', '.join(_DTYPES)} and sizes, such as 'float32 n x 1024' (n: any size)"
            )
        return ValueSpec(shapes, dtype)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of this shape is one of the feature."""
        return any(
            len(shape) == len(each)
            and all(size in (None, found) for size, found in zip(each, shape, strict=True))
            for each in self.shapes
        )


_DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


def declared_values(feature: str) -> ValueSpec | None:
    """Return what a feature's published layout or its extractor declares, None without either."""
    layout = next((each for each in _ALL if each.feature == feature), None)
    if layout is not None and layout.shapes:
        return ValueSpec(layout.shapes, layout.dtype)
    if feature not in references():
        return None
    extractor = make_extractor(feature)
    return ValueSpec((extractor.shape,), extractor.dtype)


@lru_cache(maxsize=4096)
def layouts_of_folder(folder: str, within: str = "") -> tuple[FeatureLayout, ...]:
    """Return the layouts that have their arrays in a folder, by the last parts of its path.

    Args:
        folder: Path of the folder in its source.
        within: Name of the folder or archive that holds it, which tells `features` of CLIP from
            that of CLAP; used only if several layouts fit.
    """
    found = _longest(PurePosixPath(folder).parts)
    return _longest((within, *PurePosixPath(folder).parts)) if len(found) > 1 and within else found


def _longest(parts: tuple[str, ...]) -> tuple[FeatureLayout, ...]:
    """Return the layouts with the most last parts in common with a path."""
    fitting = [
        (len(ending), each)
        for each in _ALL
        for ending in (PurePosixPath(name).parts for name in (each.folder, *each.folders))
        if parts[-len(ending) :] == ending
    ]
    most = max((length for length, _ in fitting), default=0)
    return tuple(each for length, each in fitting if length == most)
