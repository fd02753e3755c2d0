"""The embedded samples as a person builds them, and what each dataset says of its own."""

import json
from pathlib import Path

import pytest

from avstore import BatchSpec, Loader, open_store, sample_list
from avstore.pipelines.cli.embedded_sample import is_embedded
from avstore.train.data.spatial import SphericalViews, spectra
from tests.pipelines.cli.test_build import ask, avstore


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    store = tmp_path_factory.mktemp("spatial") / "data"
    return store, avstore("build", "yt360", "--source", "sample", "--store", store).stdout


@pytest.mark.slow
def test_the_spatial_sample_goes_the_way_of_yt360(built):
    store, said = built
    assert "156 wanted = 152 stored, 3 rejected, 1 absent" in said
    rows = ask(store, "SELECT split, count(*) FROM trainable GROUP BY ALL ORDER BY ALL")
    assert rows == [("test", 32), ("train", 120)]
    assert ask(store, "SELECT DISTINCT duration_s FROM samples") == [(2.0,)]
    avstore("tasks", "check", "yt360", "--store", store)
    avstore("verify", "--store", store)


@pytest.mark.slow
def test_a_batch_of_it_is_one_of_avsa(built):
    samples = sample_list(open_store(built[0]), "SELECT clip_id FROM trainable")
    spec = BatchSpec(
        8,
        read=("frames", "waveform"),
        channels=4,
        image_size=None,
        frames=8,
        frame_choice="clip",
        seconds=2.0,
        sound_seconds=1.0,
        transform=SphericalViews(views=4, size=56, seconds=2.0),
    )
    batch = next(iter(Loader(samples, spec)))
    assert batch.video.shape == (8, 4, 8, 3, 56, 56)
    assert spectra(batch.waveform, batch.sample_rate).shape == (8, 4, 4, 100, 128)
    assert batch.waveform_start.max() <= 1
    assert batch.waveform.abs().max() > 0.1


@pytest.mark.slow
def test_a_second_run_finds_nothing_to_do_and_the_dataset_does_not_replace_it(built):
    store, _ = built
    again = avstore("build", "yt360", "--store", store).stdout  # the default is the sample
    assert "152 stored, 3 rejected, 1 absent" in again
    done = avstore("build", "yt360", "--store", store, "--source", "youtube", check=False)
    assert done.returncode == 2
    assert "holds the embedded sample, and yt360 itself would replace it" in done.stderr


@pytest.mark.parametrize(
    ("dataset", "source", "lists", "embedded"),
    [
        ("vggsound", None, (), True),
        ("vggsound", "sample", (), True),
        ("yt360", "sample", (), True),
        ("yt360", "./sample", (), False),
        ("yt360", "sample", (Path("segments.txt"),), False),  # a folder of that name
        ("llp", "sample", (), False),
        ("vggsound", "youtube", (), False),
    ],
)
def test_what_names_the_sample(dataset, source, lists, embedded):
    assert is_embedded(dataset, source, lists) == embedded


@pytest.mark.slow
def test_the_command_that_repairs_names_no_source(built):
    """In a folder that has one of the name, `--source sample` would be recorded as its path."""
    ((config,), *_) = ask(built[0], "SELECT config FROM runs ORDER BY started_at")
    assert json.loads(config)["arguments"] == ["build", "yt360"]


def test_a_dataset_without_a_sample_says_so(tmp_path):
    done = avstore("build", "llp", "--store", tmp_path / "data", check=False)
    assert done.returncode == 2
    assert "llp has no embedded sample" in done.stderr
