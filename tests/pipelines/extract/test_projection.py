"""Cube maps of a synthetic scene are projected back to it, by formulas of their own."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.projection import Projector, check_projection
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.recipe_sections import VideoSettings
from avstore.pipelines.extract.records import ClipSource, ExtractionResult, Rejected
from tests.pipelines.extract.media import ffmpeg, make_clip

# Faces of the rows from left to right. Of each: the direction of its centre, of its right edge and
# of its lower edge; x is right, y is up, z is to the front.
X, Y, Z = np.eye(3)
CUBEMAP = (((X, -Z, -Y), (-X, Z, -Y), (Y, X, Z)), ((-Y, X, -Z), (Z, X, -Y), (-Z, -X, -Y)))
# YouTube's: left, front, right; below, turned by a quarter: down, back, up. The faces of a row are
# neighbours: one's right edge is the next one's left edge.
EAC = (((-X, Z, -Y), (Z, X, -Y), (X, -Z, -Y)), ((-Y, -Z, -X), (-Z, Y, -X), (Y, Z, -X)))


def recipe(source: str, stereo: str = "mono", width: int = 256) -> VideoSettings:
    return VideoSettings(
        rate=16,
        fit="stretch",
        width=width,
        height=width // 2,
        projection="equirectangular",
        source_projection=source,
        source_stereo=stereo,
    )


def scene(directions: np.ndarray) -> np.ndarray:
    """Return luma by direction [..., 3]: different everywhere, and smooth."""
    x, y, z = np.moveaxis(directions, -1, 0)
    return 128 + 40 * x + 30 * y + 20 * z + 15 * np.sin(4 * x) * np.cos(3 * z)


def equirectangular(width: int, height: int) -> np.ndarray:
    """Return the scene as an equirectangular picture: the front in the middle."""
    longitude = ((np.arange(width) + 0.5) / width * 2 - 1) * np.pi
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    lon, lat = np.meshgrid(longitude, latitude)
    parts = np.cos(lat) * np.sin(lon), np.sin(lat), np.cos(lat) * np.cos(lon)
    return scene(np.stack(parts, -1))


def faces(size: int, layout, *, equiangular: bool) -> np.ndarray:
    """Return the scene as 3 x 2 faces of `size` pixels."""
    at = (np.arange(size) + 0.5) / size * 2 - 1
    at = np.tan(at * np.pi / 4) if equiangular else at
    right, down = np.meshgrid(at, at)
    rows = []
    for row in layout:
        pictures = []
        for centre, to_right, to_bottom in row:
            direction = centre + right[..., None] * to_right + down[..., None] * to_bottom
            direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
            pictures.append(scene(direction))
        rows.append(np.concatenate(pictures, 1))
    return np.concatenate(rows, 0)


def frame_of(luma: np.ndarray) -> av.VideoFrame:
    height, width = luma.shape
    planes = np.full((height * 3 // 2, width), 100, np.uint8)
    planes[:height] = luma.round()
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = 7, Fraction(1, 16)
    frame.colorspace, frame.color_range = 1, 2
    return frame


def luma_of(frame: av.VideoFrame) -> np.ndarray:
    return frame.to_ndarray()[: frame.height].astype(float)


SOURCES = {
    "eac": faces(128, EAC, equiangular=True),
    "cubemap": faces(128, CUBEMAP, equiangular=False),
}


@pytest.mark.parametrize("source", SOURCES)
def test_cube_maps_become_the_scene(source: str) -> None:
    projected = Projector(recipe(source)).project(frame_of(SOURCES[source]))
    assert (projected.width, projected.height) == (256, 128)
    difference = np.abs(luma_of(projected) - equirectangular(256, 128))
    # At the edges of faces, FFmpeg takes the nearest pixel of one face.
    assert np.quantile(difference, 0.9) < 1.5
    assert difference.max() < 8
    assert (projected.pts, projected.time_base) == (7, Fraction(1, 16))
    assert (int(projected.colorspace), int(projected.color_range)) == (1, 2)


@pytest.mark.parametrize("source", SOURCES)
def test_the_same_picture_gives_the_same_bytes(source: str) -> None:
    projector = Projector(recipe(source))
    first, second = (luma_of(projector.project(frame_of(SOURCES[source]))) for _ in range(2))
    other = luma_of(Projector(recipe(source)).project(frame_of(SOURCES[source])))
    assert np.array_equal(first, second)
    assert np.array_equal(first, other)


def test_large_cube_maps_are_sampled_densely() -> None:
    large = faces(320, EAC, equiangular=True)
    projected = Projector(recipe("eac", width=128)).project(frame_of(large))
    assert (projected.width, projected.height) == (640, 320)
    difference = np.abs(luma_of(projected) - equirectangular(640, 320))
    assert np.quantile(difference, 0.9) < 1.5


def test_of_two_views_the_upper_one_is_kept() -> None:
    upper = equirectangular(256, 128)
    both = frame_of(np.concatenate([upper, 255 - upper]))
    kept = Projector(recipe("equirectangular", "top_bottom")).project(both)
    assert np.array_equal(luma_of(kept), upper.round())
    two_cubes = np.concatenate([SOURCES["eac"], 255 - SOURCES["eac"]])
    one = Projector(recipe("eac")).project(frame_of(SOURCES["eac"]))
    first = Projector(recipe("eac", "top_bottom")).project(frame_of(two_cubes))
    assert np.array_equal(luma_of(first), luma_of(one))


def test_an_equirectangular_picture_is_not_touched() -> None:
    frame = frame_of(equirectangular(256, 128))
    assert Projector(recipe("equirectangular")).project(frame) is frame


def test_pictures_may_change_their_size_and_format() -> None:
    projector = Projector(recipe("eac"))
    for size in (128, 64, 128):
        frame = frame_of(faces(size, EAC, equiangular=True))
        for pixels in ("yuv420p", "yuv420p10le", "rgb24"):
            projected = projector.project(frame.reformat(format=pixels))
            assert (projected.width, projected.height) == (256, 128)


@pytest.mark.parametrize("size", [(2, 2), (4, 2), (6, 4), (16, 2), (3, 1), (5, 7)])
@pytest.mark.parametrize("source", ["eac", "cubemap", "equirectangular"])
def test_tiny_pictures_are_projected_or_rejected(size: tuple[int, int], source: str) -> None:
    frame = av.VideoFrame(*size, "yuv420p")
    for stereo in ("mono", "top_bottom"):
        try:
            projected = Projector(recipe(source, stereo)).project(frame)
        except Rejected as rejected:
            assert rejected.verdict == Verdict.WRONG_PROJECTION  # noqa: PT017
        else:
            assert projected.width > 0


@pytest.mark.parametrize("source", ["eac", "cubemap"])
def test_turned_pictures_are_rejected(source: str, tmp_path: Path) -> None:
    upright, turned = tmp_path / "upright.mp4", tmp_path / "turned.mp4"
    make_clip(upright, seconds=0.2, size="384x256", audio=("-an",))
    ffmpeg("-display_rotation", "90", "-i", upright, "-c", "copy", turned)
    with av.open(str(turned)) as container:
        frame = next(container.decode(video=0))
        with pytest.raises(Rejected, match="turned or mirrored for display"):
            Projector(recipe(source)).project(frame)
        assert Projector(recipe("equirectangular")).project(frame) is frame


@pytest.mark.parametrize("size", [(3840, 1920), (3840, 1910), (1000, 496)])
def test_equirectangular_pictures_are_two_to_one(size: tuple[int, int]) -> None:
    check_projection(*size, recipe("equirectangular"))
    for source in ("eac", "cubemap"):
        expected = rf"wrong_projection: picture of {size[0]} x {size[1]} .* that are not 2:1"
        with pytest.raises(Rejected, match=expected):
            check_projection(*size, recipe(source))


@pytest.mark.parametrize("size", [(3840, 2160), (1080, 1920), (1536, 1024), (1000, 480), (2, 2)])
def test_other_pictures_are_cube_maps(size: tuple[int, int]) -> None:
    for source in ("eac", "cubemap"):
        check_projection(*size, recipe(source))
    with pytest.raises(Rejected, match=r"'equirectangular' needs pictures that are 2:1"):
        check_projection(*size, recipe("equirectangular"))


def test_flat_pictures_have_any_size() -> None:
    check_projection(1920, 1080, VideoSettings(rate=16, fit="native"))


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def flat_declaration(kind: bytes) -> bytes:
    """Return the box by which an MP4 declares a projection, as of ISO/IEC 14496-12's extensions."""
    return box(b"vexu", box(b"proj", box(b"prji", bytes(4), kind)))


def sphere_declaration(kind: bytes, settings: bytes) -> bytes:
    """Return the box of Google's Spherical Video V2."""
    projection = box(b"proj", box(b"prhd", bytes(16)), box(kind, bytes(4), settings))
    return box(b"sv3d", box(b"svhd", bytes(4), b"x\0"), projection)


def declaring(path: Path, declaration: bytes) -> Path:
    """Add a box to the entry of an MP4's video stream, whose header is at the end of the file."""
    data = bytearray(path.read_bytes())
    at, end = 0, len(data)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        while data[at + 4 : at + 8] != name:
            at += int.from_bytes(data[at : at + 4], "big")
        size = int.from_bytes(data[at : at + 4], "big")
        data[at : at + 4] = (size + len(declaration)).to_bytes(4, "big")
        end, at = at + size, at + (16 if name == b"stsd" else 8)
    data[end:end] = declaration
    path.write_bytes(data)
    return path


EQUIRECTANGULAR = sphere_declaration(b"equi", bytes(16))
DECLARED = {
    "rectilinear": flat_declaration(b"rect"),
    "half equirectangular": flat_declaration(b"hequ"),
    "fisheye": flat_declaration(b"fish"),
    "cubemap": sphere_declaration(b"cbmp", bytes(8)),
}


def panorama(path: Path, declaration: bytes) -> ExtractionResult:
    make_clip(path, seconds=1.0, size="128x64", rate=16)
    declaring(path, declaration)
    settings = load_recipe("avsa_tiny").model_copy(update={"members": ("video",)})
    return extract_clip(ClipSource("test/a", "key", str(path), 0.0, 1.0), settings)


@pytest.mark.parametrize("name", DECLARED)
def test_a_video_that_declares_another_projection_is_rejected(tmp_path: Path, name: str) -> None:
    """Flat pictures, and those of 180 degrees side by side, may be 2:1 too."""
    result = panorama(tmp_path / "a.mp4", DECLARED[name])
    assert (result.verdict, result.members) == (Verdict.WRONG_PROJECTION, ())
    assert result.detail == (
        f"the file declares {name} pictures (source_projection = 'equirectangular')"
    )


@pytest.mark.parametrize("declaration", [EQUIRECTANGULAR, b""])
def test_a_video_that_declares_its_projection_or_none_is_taken(tmp_path, declaration) -> None:
    result = panorama(tmp_path / "a.mp4", declaration)
    assert result.verdict is None, result.detail
