"""Bring pictures of 360 degrees to the equirectangular projection."""

import sys
from fractions import Fraction
from typing import Any

import av
from av.filter import Graph

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.jpeg import orientation
from avstore.pipelines.extract.recipe_sections import VideoSettings
from avstore.pipelines.extract.records import Rejected

_TOLERANCE = Fraction(1, 100)
_V360_INPUT = {"eac": "eac", "cubemap": "c3x2"}  # FFmpeg's names; both have 3 x 2 faces
# FFmpeg's `enum AVSphericalProjection`, of the files' own metadata.
_DECLARED = (
    *("equirectangular", "cubemap", "tiled equirectangular", "half equirectangular"),
    *("rectilinear", "fisheye", "parametric immersive"),
)
_MAX_STEP = 2
"""Source pixels from sample to sample of the projection: as many as bilinear sampling averages."""


def check_projection(width: int, height: int, settings: VideoSettings) -> None:
    """Raise unless a picture's size is one of the recipe's source projection.

    Args:
        width: Width as displayed, in pixels.
        height: Height as displayed, in pixels, of the kept view.
        settings: The recipe's video settings.

    Raises:
        Rejected: An equirectangular picture is not 2:1, or one of a cube map is.
    """
    if settings.projection == "flat":
        return
    source = settings.source_projection
    is_double = abs(Fraction(width, 2 * height) - 1) <= _TOLERANCE
    if is_double != (source == "equirectangular"):
        needed = "not 2:1, as equirectangular ones are" if is_double else "2:1"
        wanted = f"source_projection = '{source}' needs pictures that are {needed}"
        raise Rejected(Verdict.WRONG_PROJECTION, f"picture of {width} x {height} ({wanted})")


def check_declaration(frame: av.VideoFrame, settings: VideoSettings) -> None:
    """Raise if a file declares that its pictures have another projection than the recipe's source.

    Most files declare none, YouTube's and cut ones among them, and pass. `rectilinear` are flat
    pictures, `half equirectangular` those of 180 degrees; side by side, they are 2:1 as well.

    Args:
        frame: A decoded picture.
        settings: The recipe's video settings.

    Raises:
        Rejected: `wrong_projection`.
    """
    data = frame.side_data.get("SPHERICAL")
    if settings.projection == "flat" or data is None:
        return
    number = int.from_bytes(bytes(data)[:4], sys.byteorder)
    declared = _DECLARED[number] if number < len(_DECLARED) else f"unknown ({number})"
    source = settings.source_projection
    if declared != ("equirectangular" if source == "equirectangular" else "cubemap"):
        detail = f"the file declares {declared} pictures (source_projection = '{source}')"
        raise Rejected(Verdict.WRONG_PROJECTION, detail)


class Projector:
    """Convert the decoded pictures of one clip to equirectangular ones of one view.

    Cube maps are sampled bilinearly at a multiple of the stored size, so that shrinking to it
    averages all source pixels.
    """

    def __init__(self, settings: VideoSettings) -> None:
        self._settings = settings
        self._graph: tuple[tuple[int, int, str], Graph] | None = None

    def project(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the upper view of a picture in the equirectangular projection.

        Args:
            frame: A decoded picture.

        Returns:
            The frame itself if it is flat or equirectangular and has one view; else a frame of
            another size, with the same time and colour tags.

        Raises:
            Rejected: The picture is turned or mirrored for display, or too small for its faces.
        """
        settings = self._settings
        if settings.source_projection == "equirectangular" and settings.source_stereo == "mono":
            return frame
        if orientation(frame) != (0, False):
            detail = "a picture of 360 degrees is turned or mirrored for display"
            raise Rejected(Verdict.WRONG_PROJECTION, detail)
        try:
            projected: av.VideoFrame = self._filtered(frame)
        except av.FFmpegError as error:
            detail = f"picture of {frame.width} x {frame.height}: {error.strerror}"
            raise Rejected(Verdict.WRONG_PROJECTION, detail) from error
        projected.pts = frame.pts
        if frame.time_base is not None:
            projected.time_base = frame.time_base
        projected.colorspace, projected.color_range = frame.colorspace, frame.color_range
        return projected

    def _filtered(self, frame: av.VideoFrame) -> Any:
        """Return what the filters make of a frame; they are set up again when its size changes."""
        kind = (frame.width, frame.height, frame.format.name)
        if self._graph is None or self._graph[0] != kind:
            self._graph = kind, _graph(frame, self._settings)
        graph = self._graph[1]
        graph.push(frame)
        return graph.pull()


def _graph(frame: av.VideoFrame, settings: VideoSettings) -> Graph:
    """Set up FFmpeg's filters for frames of one size and format, in one thread."""
    graph = Graph()
    graph.threads = 1
    nodes = [
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1, 1000),
        )
    ]
    if settings.source_stereo == "top_bottom":
        nodes.append(graph.add("crop", "iw:ih/2:0:0"))
    if name := _V360_INPUT.get(settings.source_projection):
        width, height = _sampled_size(frame.width, settings)
        nodes.append(graph.add("v360", f"{name}:e:interp=linear:w={width}:h={height}"))
    graph.link_nodes(*nodes, graph.add("buffersink")).configure()
    return graph


def _sampled_size(source_width: int, settings: VideoSettings) -> tuple[int, int]:
    """Return the multiple of the stored size at which a cube map of 3 faces a row is sampled."""
    width, height = settings.target
    face, stored_face = Fraction(source_width, 3), Fraction(width, 4)
    times = max(-(-face // (_MAX_STEP * stored_face)), 1)
    return width * times, height * times
