"""Stores of sound alone, pictures alone, and video with ambisonic sound, as a person builds one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avstore.manifests import open_store
from avstore.manifests.shard_reader import BadSampleError
from avstore.manifests.store import StoreError
from avstore.train.data import BatchSpec, Loader, sample_list
from tests.pipelines.cli.test_build import avstore
from tests.pipelines.extract.media import ffmpeg

ALL = "SELECT clip_id FROM trainable"
FRAMES = '[frames]\nsampling = "count"\ncount = 4\nsize = 64\n'
FOA = "join=inputs=4:channel_layout=quad"


def recipe(path: Path, members: str, rest: str = "") -> Path:
    path.write_text(
        f'name = "{path.stem}"\ntitle = "Mine"\nsource = "none"\nmembers = [{members}]\n{rest}'
    )
    return path


def tones(path: Path, *extra: object) -> Path:
    ffmpeg("-f", "lavfi", "-i", "sine=440:d=3:r=48000", *extra, path)
    return path


def spatial(path: Path, size: str = "256x128", channels: int = 4) -> Path:
    """Write a picture of 360 degrees with sound from one direction."""
    parts = [f"0.3*sin(440*2*PI*t)*{weight}" for weight in (1, 0.5, 0.3, 0.8)][:channels]
    sound = f"aevalsrc='{'|'.join(parts)}':s=48000:d=10"
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration=10", "-f", "lavfi", "-i",
           sound, "-c:v", "libx264", "-preset", "veryfast", "-c:a", "flac", path)  # fmt: skip
    return path


def first_batch(store: Path, **settings: Any) -> Any:
    samples = sample_list(open_store(store), ALL)
    return next(iter(Loader(samples, BatchSpec(1, random=False, image_size=32, **settings))))


@pytest.fixture(scope="module")
def of_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store built of a folder of sound files, by a recipe without pictures."""
    folder = tmp_path_factory.mktemp("sound")
    for name in ("dog.wav", "cat.flac", "bird.mp3", "notes.txt"):
        if name.endswith("txt"):
            (folder / name).write_text("no media")
        else:
            tones(folder / name)
    made = recipe(folder / "tones.toml", '"waveform"', "[audio]\nrate = 8000\n")
    done = avstore("build", folder, "--name", "own", "--recipe", made, "--store", folder / "data")
    assert "3 wanted = 3 stored" in done.stdout
    return folder / "data"


def test_files_of_sound(of_sound: Path) -> None:
    avstore("verify", "--store", of_sound)
    avstore("report", "own", "--store", of_sound)
    rows = open_store(of_sound).query("FROM samples").rows()
    assert {row["members"] for row in rows} == {"json flac"}
    assert {row["frame_count"] for row in rows} == {0}
    batch = first_batch(of_sound, read=("waveform",), waveform_samples=24_000)
    assert np.abs(batch.waveform.numpy()).max() > 0.05


@pytest.mark.parametrize("read", [("frames",), ("fbank",), ("waveform", "frames")])
def test_what_no_clip_has_is_refused_before_the_first_batch(of_sound: Path, read: tuple) -> None:
    lacking = "|".join(name for name in read if name != "waveform")
    message = f"no clip of the list has {lacking}: it was built by tones-.*, which stores waveform"
    with pytest.raises(StoreError, match=message):
        first_batch(of_sound, read=read)


def test_a_training_run_names_what_is_not_stored(of_sound: Path, tmp_path: Path) -> None:
    words = ("--config", "tiny", "--out", tmp_path, "--stream", "own")
    done = avstore("train", "--shards", of_sound / "shards", *words, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "which stores waveform" in done.stderr


@pytest.mark.parametrize("output", ["webdataset", "parquet", "folders"])
def test_an_export_has_what_is_stored(of_sound: Path, tmp_path: Path, output: str) -> None:
    avstore("export", "--sql", ALL, "--store", of_sound, "--format", output,
            "--out", tmp_path / "out")  # fmt: skip
    assert any((tmp_path / "out").iterdir())


def test_sound_beside_a_video_of_its_name_is_no_clip_and_other_sound_is(tmp_path: Path) -> None:
    tones(tmp_path / "dog.wav")
    tones(tmp_path / "cat.wav")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=3", tmp_path / "cat.mp4")
    made = recipe(tmp_path / "stills.toml", '"frames"', FRAMES)
    done = avstore("build", tmp_path, "--name", "own", "--recipe", made,
                   "--store", tmp_path / "data")  # fmt: skip
    assert "2 wanted = 1 stored, 1 rejected" in done.stdout
    assert "1 no_video" in done.stdout
    batch = first_batch(tmp_path / "data", read=("frames",), frames=2)
    assert batch.video.shape == (1, 2, 3, 32, 32)


def test_the_recipe_of_spatial_clips(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    spatial(folder / "scene.mkv")
    spatial(folder / "flat.mkv", size="320x180")
    spatial(folder / "stereo.mkv", channels=2)
    store = tmp_path / "data"
    done = avstore("build", folder, "--name", "own", "--recipe", "avsa", "--store", store)
    assert "1 wrong_channels" in done.stdout
    assert "1 wrong_projection" in done.stdout
    avstore("verify", "--store", store)
    opened = open_store(store)
    assert opened.pictures("own/scene", 77, 8).shape == (8, 512, 1024, 3)
    batch = first_batch(store, read=("waveform",), channels=4, waveform_samples=240_000)
    w, y, z, x = batch.waveform[0, :, 24_000:48_000].numpy()
    for channel, weight in ((y, 0.5), (z, 0.3), (x, 0.8)):
        assert np.abs(channel - weight * w).max() < 1e-3
    with pytest.raises(BadSampleError, match=r"own/scene.*4 channels.*channels=1"):
        first_batch(store, read=("waveform",))


def test_a_second_build_has_the_same_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    spatial(folder / "scene.mkv", channels=1)
    for name in ("one", "two"):
        avstore("build", folder, "--name", "own", "--recipe", "av_clip", "--store", tmp_path / name)
    one, two = (sorted((tmp_path / n).glob("shards/**/*.tar"))[0] for n in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
