"""Clips of consecutive frames with their sound; frames and rates that clips do not have."""

import itertools
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.catalogue import open_write
from avstore.manifests.ingest import commit_shards
from avstore.manifests.sidecar import write_sidecar
from avstore.manifests.store import Store, StoreError
from avstore.train.data import Augment, BatchSpec, Dataset, Loader, open_store, sample_list
from avstore.train.data.transforms.clips import (
    Clip,
    SoundWindow,
    clip_frames,
    sound_of,
    valid_frames,
)
from avstore.train.data.transforms.frames import normalise
from tests.train.data import store_factory as toy

ALL = "SELECT clip_id FROM clips"
CLIPS, FRAMES, STEP = 6, 10, 0.05
READ = ("frames", "fbank", "waveform")


@pytest.fixture(scope="module")
def short_clips(tmp_path_factory):
    """Clips of half a second: ten frames, 8,000 samples, some 48 fbank frames."""
    shape = toy.Shape(clips=CLIPS, frames=FRAMES, seconds=0.5, fbank_frames=48)
    root = toy.make_store(tmp_path_factory.mktemp("short"), shape)
    return sample_list(open_store(root), ALL)


def spec(**changes) -> BatchSpec:
    common = {"frames": 4, "image_size": 24, "fbank_frames": 20, "read": READ, "seconds": 0.5,
              "frame_choice": "clip", "random": False}  # fmt: skip
    return BatchSpec(CLIPS, **common | changes)


def numbers(batch) -> np.ndarray:
    """Return which stored frame each frame of a batch is, by its colour."""
    green = batch.video[:, :, 1].mean(dim=(2, 3)) * 0.224 + 0.456
    return np.rint(green.numpy() * 255 / 25).astype(int)


def wave(clip_id: str) -> np.ndarray:
    return toy.wave(int(clip_id[-6:])).astype(np.float32) / 32768


@pytest.mark.parametrize(
    ("changes", "first", "stride"),
    [({}, 3, 1), ({"frame_stride": 3}, 0, 3), ({"clip_start": 0.26}, 5, 1), ({"frames": 1}, 4, 1)],
)
def test_frames_and_the_sound_of_the_same_seconds(short_clips, changes, first, stride):
    batch = next(iter(Loader(short_clips, spec(**changes))))
    frames = changes.get("frames", 4)
    taken = [first + k * stride for k in range(frames)]
    assert (numbers(batch) == taken).all()
    times = np.asarray(taken, np.float32) * np.float32(STEP)
    np.testing.assert_allclose(batch.frame_times, np.tile(times, (CLIPS, 1)), atol=1e-6)
    assert batch.frames_valid.all()
    seconds = frames * stride * STEP
    start, length = max(min(first * STEP, 0.5 - seconds), 0.0), round(seconds * 16000)
    np.testing.assert_allclose(batch.waveform_start, start, atol=1e-4)
    assert batch.sample_rate == 16000
    assert batch.waveform.shape == (CLIPS, length)
    own = min(length, 8000)
    assert (batch.waveform_samples == own).all()
    assert not batch.waveform[:, own:].any()
    begin = round(start * 16000)
    for clip_id, waveform in zip(batch.clip_ids, batch.waveform, strict=True):
        np.testing.assert_array_equal(waveform[:own], wave(clip_id)[begin : begin + own])
    rows = min(round(seconds * 100), 20)
    whole = next(iter(Loader(short_clips, spec(frame_choice="even", fbank_frames=60))))
    kept = whole.audio[:, 0, round(start * 100) : round(start * 100) + rows]
    counted = torch.minimum(batch.audio_frames, torch.tensor(rows))
    assert (batch.audio_frames <= rows).all()
    for row, count in enumerate(counted.tolist()):
        torch.testing.assert_close(batch.audio[row, 0, :count], kept[row, :count])


def test_random_clips_are_where_batches_say_and_the_same_in_worker_processes(short_clips):
    drawn = spec(random=True, sound_offset=0.1)
    batches = list(Loader(short_clips, drawn, seed=5))
    starts = set()
    for batch in batches:
        first = numbers(batch)[:, 0]
        assert (numbers(batch) == first[:, None] + np.arange(4)).all()
        np.testing.assert_allclose(batch.frame_times[:, 0], first * STEP, atol=1e-6)
        gaps = batch.waveform_start.numpy() - first * STEP
        assert (np.abs(gaps) <= 0.1 + 1e-6).all()
        assert (gaps != 0).any()
        for clip_id, at, waveform in zip(
            batch.clip_ids, batch.waveform_start, batch.waveform, strict=True
        ):
            begin = round(float(at) * 16000)
            np.testing.assert_array_equal(waveform, wave(clip_id)[begin : begin + 3200])
        starts |= set(first.tolist())
    assert len(starts) > 1
    for one, two in zip(batches, Loader(short_clips, drawn, seed=5, workers=2), strict=True):
        for name in ("video", "audio", "waveform", "waveform_start", "frame_times"):
            assert torch.equal(getattr(one, name), getattr(two, name)), name


@pytest.mark.parametrize("changes", [{"clip_start": 0.4}, {"frames": 4, "frame_stride": 3}])
def test_sound_that_ends_after_the_clip_begins_with_the_frames(short_clips, changes):
    batch = next(iter(Loader(short_clips, spec(**changes))))
    torch.testing.assert_close(batch.waveform_start, batch.frame_times[:, 0])
    kept = batch.waveform_samples.tolist()
    assert max(kept) < batch.waveform.shape[1]
    for clip_id, waveform, start, own in zip(
        batch.clip_ids, batch.waveform, batch.waveform_start.tolist(), kept, strict=True
    ):
        begin = round(start * 16000)
        np.testing.assert_array_equal(waveform[:own], wave(clip_id)[begin : begin + own])
        assert not waveform[own:].any()


def test_the_length_of_sound_does_not_depend_on_the_times_of_pictures(tmp_path):
    """Frames at 8 a second are those of a source of 29.97: they are 0.117 or 0.133 s apart."""
    store = Store(tmp_path)
    shape = toy.Shape(clips=6, frames=32, seconds=4.0)
    with open_write(store) as writer:
        toy.annotate(writer, store, shape)
        sidecars = [toy.write_shard(store, n, range(2 * n, 2 * n + 2), shape) for n in range(3)]
        for number, path in enumerate(sidecars):
            times = np.floor((np.arange(32) / 8 + 0.01 * number) * 29.97) / 29.97
            rows = pq.read_table(path).to_pylist()
            write_sidecar(path, [row | {"frame_times": times.tolist()} for row in rows])
        commit_shards(writer.con, sidecars)
        writer.publish()
    samples = sample_list(open_store(tmp_path), ALL)
    loader = Loader(samples, spec(frames=4, seconds=4.0, random=True))
    for batch in loader:
        assert batch.waveform.shape[1] == 8000
    several = Loader(samples, replace(spec(frames=4, seconds=4.0), batch_size=1))
    assert {batch.waveform.shape[1] for batch in several} == {8000}


def test_frames_that_a_clip_does_not_have_are_marked(short_clips):
    batch = next(iter(Loader(short_clips, spec(frames=16))))
    assert batch.frames_valid.tolist() == [[True] * 10 + [False] * 6] * CLIPS
    assert (numbers(batch)[:, 9:] == 9).all()
    over = next(iter(Loader(short_clips, spec(frame_choice="even", frames=12))))
    assert over.frames_valid.sum(dim=1).tolist() == [10] * CLIPS
    times = {"frame_choice": "times", "frame_times": (0.1, 0.5, 100.0)}
    wanted = next(iter(Loader(short_clips, spec(**times))))
    assert wanted.frames_valid.tolist() == [[True, True, False]] * CLIPS


@pytest.fixture(scope="module")
def two_lengths(tmp_path_factory):
    """Two clips of three frames and two of five."""
    store = Store(tmp_path_factory.mktemp("lengths"))
    with open_write(store) as writer:
        toy.annotate(writer, store, toy.Shape(clips=4))
        sidecars = [
            toy.write_shard(store, number, range(2 * number, 2 * number + 2), toy.Shape(frames=n))
            for number, n in enumerate((3, 5))
        ]
        commit_shards(writer.con, sidecars)
        writer.publish()
    return sample_list(open_store(store.root), ALL)


@pytest.mark.parametrize("pixels", ["float", "uint8"])
def test_clips_with_fewer_frames_are_padded_with_black_ones(two_lengths, pixels):
    """With 'all', clips have different numbers of frames."""
    loader = Loader(two_lengths, spec(frame_choice="all", pixels=pixels))
    (batch,) = loader
    assert sorted(batch.video_frames.tolist()) == [3, 3, 5, 5]
    assert torch.equal(batch.frames_valid, batch.video_mask)
    assert torch.equal(batch.frame_times.isnan(), ~batch.video_mask)
    black = normalise(torch.zeros(3, 1, 1)) if pixels == "float" else torch.zeros(3, 1, 1)
    assert (batch.video[~batch.video_mask] == black).all()
    for row, count in enumerate(batch.video_frames.tolist()):
        sample = Dataset(two_lengths, loader.spec)[row]["video"]
        assert torch.equal(batch.video[row, :count], sample)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_choice": "even", "frame_stride": 2}, "frame_stride needs frame_choice='clip'"),
        ({"frame_choice": None, "sound_offset": 0.1}, "sound_offset needs frame_choice='clip'"),
        ({"frame_stride": 0}, "frame_stride=0 is not an integer of at least 1"),
        ({"clip_start": -1.0}, "clip_start=-1.0 is not a number of seconds"),
        ({"sound_offset": float("nan")}, "sound_offset=nan is not a number of seconds"),
        ({"read": ("waveform",)}, "frame_choice='clip' needs 'frames' in read"),
        ({"sample_rate": 0}, "sample_rate=0 is not an integer of at least 1"),
    ],
)
def test_settings_that_exclude_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        spec(**settings)


@settings(deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 20), st.integers(1, 5), st.integers(0, 2**32),
    st.one_of(st.none(), st.floats(0, 6)),
)  # fmt: skip
def test_places_of_any_clip(stored, frames, stride, seed, start):
    times = (np.arange(stored) * 0.125).astype(np.float32)
    for generator in (None, np.random.default_rng(seed)):
        chosen = clip_frames(Clip(frames, stride, start), times, generator)
        valid = valid_frames(chosen, times)
        assert len(chosen) == frames
        assert chosen == sorted(chosen)
        assert 0 <= chosen[0] <= chosen[-1] < stored
        own = [index for index, one in zip(chosen, valid, strict=True) if one]
        assert own == sorted(set(chosen))
        if start is None and stored >= (frames - 1) * stride + 1:
            assert all(valid)
            assert all(b - a == stride for a, b in itertools.pairwise(chosen))
        begin, length = times[chosen[0]], frames * stride * 0.125
        assert sound_of(chosen, stride, times, 0.125) == SoundWindow(begin, length)
        later = sound_of(chosen, stride, times, 0.125, 0.3).start
        assert begin <= later <= begin + 0.3 + 1e-6
        assert later + length <= max(stored * 0.125, begin + length) + 1e-3
        assert 0 <= sound_of(chosen, stride, times, 0.125, -0.3).start <= begin


@pytest.fixture(scope="module")
def two_rates(tmp_path_factory):
    shape = toy.Shape(clips=CLIPS, rates=(16000, 48000))
    return sample_list(open_store(toy.make_store(tmp_path_factory.mktemp("rates"), shape)), ALL)


def test_two_sampling_rates_in_a_batch_are_refused_or_resampled(two_rates):
    read = {"read": ("waveform",), "random": False}
    with pytest.raises(StoreError, match=r"16000 Hz \(toy/.*\), 48000 Hz \(toy/.*set sample_rate"):
        next(iter(Loader(two_rates, BatchSpec(CLIPS, **read))))
    batch = next(iter(Loader(two_rates, BatchSpec(CLIPS, **read, sample_rate=16000, seconds=0.5))))
    assert batch.sample_rate == 16000
    assert batch.waveform.shape == (CLIPS, 8000)
    for clip_id, waveform, own in zip(
        batch.clip_ids, batch.waveform, batch.waveform_samples.tolist(), strict=True
    ):
        stored = wave(clip_id)
        if int(clip_id[-6:]) % 2 == 0:
            np.testing.assert_array_equal(waveform, stored)
            continue
        assert own == pytest.approx(8000 / 3, abs=1)
        assert not waveform[own:].any()
        np.testing.assert_allclose(
            waveform[100 : own - 100], stored[::3][100 : own - 100], atol=2e-3
        )


def test_two_sampling_rates_are_not_mixed(two_rates):
    mixing = BatchSpec(CLIPS, read=("waveform",), labels="multi_hot", augment=Augment(mixup=1.0))
    with pytest.raises(StoreError, match="cannot be mixed: their sampling rates are"):
        list(Loader(two_rates, mixing))


def test_a_waveform_is_as_long_as_its_seconds(two_rates):
    for rate in (16000, 22050):
        settings = {"read": ("waveform",), "random": False, "sample_rate": rate, "seconds": 2.0}
        batch = next(iter(Loader(two_rates, BatchSpec(CLIPS, **settings))))
        assert batch.waveform.shape == (CLIPS, 2 * rate)
