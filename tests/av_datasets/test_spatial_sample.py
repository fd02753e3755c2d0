"""YT-360's embedded sample: its lists, its scenes, and that shards hold what was drawn."""

import io
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avstore.datasets.ambisonics import direction
from avstore.datasets.sample import SPATIAL_SAMPLE, panorama
from avstore.datasets.sample.spatial_corpus import SpatialClip, spatial_clips, write_clip
from avstore.pipelines.extract.clip import extract_clip
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.records import ExtractionResult
from tests.pipelines.extract.media import source
from tests.pipelines.extract.tones import stored

RGB = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
RGB |= {"yellow": (1, 1, 0), "magenta": (1, 0, 1), "cyan": (0, 1, 1)}
GOOD, *BROKEN = [spatial_clips()[0], *(clip for clip in spatial_clips() if clip.defect)]


def angle(value: float) -> float:
    """Return an angle between -pi and pi."""
    return (value + math.pi) % math.tau - math.pi


@given(seed=st.integers(0, 2**32 - 1))
def test_four_discs_of_different_colours_stand_around_the_listener(seed):
    scene = panorama.draw(seed)
    assert len({disc.colour for disc in scene.discs}) == 4
    for disc in scene.discs:
        assert abs(disc.elevation) <= math.radians(15)
        assert abs(disc.drift) <= math.radians(40)
        assert disc.azimuth_at(panorama.SECONDS / 2) == disc.azimuth
    around = [disc.azimuth for disc in scene.discs]
    gaps = [b - a for a, b in pairwise([*around, around[0] + math.tau])]
    assert all(math.radians(60) <= gap <= math.radians(120) for gap in gaps)
    assert panorama.draw(seed) == scene


def test_rows_are_those_of_yt360_with_32_videos_held_out(tmp_path):
    clips = spatial_clips()
    lists = {"segments": [f"{c.youtube_id} {c.start}" for c in clips]}
    lists |= {s: [c.youtube_id for c in clips if c.split == s] for s in ("train", "test")}
    paths = [tmp_path / f"{name}.txt" for name in lists]
    for path in paths:
        path.write_text("\n".join(lists[path.stem]))
    found = SPATIAL_SAMPLE.parse(paths)
    assert not found.bad_rows
    assert len({clip.source_id for clip in found.clips}) == len(clips)
    good = {clip.file.partition(".")[0] for clip in clips if not clip.defect}
    splits = Counter(clip.split for clip in found.clips if clip.key in good)
    assert splits == {"train": 120, "test": 32}
    assert {(clip.end_s or 0) - (clip.start_s or 0) for clip in found.clips} == {panorama.SECONDS}


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> ExtractionResult:
    return extract(GOOD, tmp_path_factory.mktemp("panorama") / GOOD.file)


def extract(clip: SpatialClip, path: Path) -> ExtractionResult:
    write_clip(clip, path)
    return extract_clip(source(path, 0.0, panorama.SECONDS), load_recipe(SPATIAL_SAMPLE.recipe))


def test_colours_are_where_they_were_drawn(extracted):
    scene = panorama.draw(GOOD.seed)
    with av.open(io.BytesIO(dict(extracted.members)["mp4"])) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == panorama.SECONDS * panorama.FPS
    assert frames[0].shape == (panorama.HEIGHT, panorama.WIDTH, 3)
    found = 0
    for index, frame in enumerate(frames):
        places = [float(disc.azimuth_at(index / panorama.FPS)) for disc in scene.discs]
        for number, disc in enumerate(scene.discs):
            later = places[number + 1 :]
            if any(abs(angle(places[number] - other)) < math.radians(40) for other in later):
                continue  # a later disc may cover it
            x = (1 - angle(places[number]) / math.pi) / 2
            y = (1 - disc.elevation / (math.pi / 2)) / 2
            row, column = int(y * panorama.HEIGHT), int(x * panorama.WIDTH) % panorama.WIDTH
            expected = 255 * np.array(RGB[panorama.COLOURS[disc.colour]])
            assert np.abs(frame[row, column] - expected).max() < 40
            found += 1
    assert found > len(frames)


def test_tones_come_from_where_the_discs_are(extracted):
    """By the correlation of each channel with the tones, in windows of an eighth of a second."""
    sound = stored(extracted) / 32768
    assert sound.shape == (4, panorama.SECONDS * panorama.RATE)
    times = np.arange(sound.shape[1]) / panorama.RATE
    length = panorama.RATE // 8
    for disc in panorama.draw(GOOD.seed).discs:
        hertz = panorama.pitch_hz(disc.colour)
        for first in range(0, sound.shape[1], length):
            part = slice(first, first + length)
            wave = np.exp(-2j * np.pi * hertz * times[part]) * np.hanning(length)
            w, y, z, x = sound[:, part] @ wave
            middle = disc.azimuth_at(times[part].mean())
            found = math.atan2((y / w).real, (x / w).real)
            assert abs(angle(found - float(middle))) < math.radians(3)
            assert abs(math.asin((z / w).real) - disc.elevation) < math.radians(3)
            assert abs(w) * 2 / np.hanning(length).sum() == pytest.approx(0.05, rel=0.05)


def test_a_picture_and_its_sound_are_at_one_place():
    """The same direction for the place of a colour in a picture, and for its sound."""
    assert direction(0.25, 0.5) == (math.pi / 2, 0)
    one = replace(panorama.draw(1).discs[0], azimuth=math.pi / 2, elevation=0.0, drift=0.0)
    scene = panorama.Panorama((one,), 1)
    frame = next(panorama.pictures(scene))[: panorama.HEIGHT]
    levels = panorama.sound(scene).astype(float).std(axis=1)
    assert abs(int(frame[48, 48]) - 126) > 20
    assert abs(int(frame[48, 144]) - 126) < 20
    assert levels[1] == pytest.approx(levels[0], rel=0.01)
    assert levels[2:].max() < 0.02 * levels[0]


def test_the_same_bytes_every_time(tmp_path):
    found = set()
    for _ in range(6):
        write_clip(GOOD, tmp_path / GOOD.file)
        found.add((tmp_path / GOOD.file).read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("clip", [clip for clip in BROKEN if clip.defect != "absent"])
def test_defects_are_rejected_by_name(clip, tmp_path):
    verdicts = {"flat": "wrong_projection", "stereo": "wrong_channels", "mono": "wrong_channels"}
    result = extract(clip, tmp_path / clip.file)
    assert result.verdict == verdicts[clip.defect or ""]
    assert not result.members
