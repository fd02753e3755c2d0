"""Frames of stored videos, several clips of a sample, and longer sound around them."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests import open_store
from avstore.manifests.catalogue import open_write
from avstore.manifests.ingest import commit_shards
from avstore.manifests.lock import writing
from avstore.manifests.shard_reader import BadSampleError
from avstore.manifests.store import Store, StoreError
from avstore.manifests.video_record import StoredVideo
from avstore.manifests.video_windows import windows
from avstore.pipelines.build.shard_writer import ShardId, open_shard
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.extract.records import ExtractionResult, Quality
from avstore.train.data import BatchSpec, Dataset, ErrorPolicy, Loader, sample_list
from avstore.train.data.transforms.clips import Clip, clip_within_sound
from tests.manifests import synthetic
from tests.manifests.test_video_groups import SIZE, encode, filled

CLIPS, PICTURES, EVERY, RATE, HERTZ = 5, 24, 8, 16.0, 16000
SHARD = f"shards/toy/{synthetic.STAGE}/train-000000.tar"
BOTH = 3
"""Number of the clip that has JPEGs too."""


def extracted(number: int, key: str) -> ExtractionResult:
    """Return a clip whose pictures get brighter by 10 levels, and whose sound is a ramp."""
    codec = ("av1", "h264")[number % 2]
    planes = [filled((10 * i,) * 3) for i in range(PICTURES)]
    encoded = encode(codec, planes, EVERY, crf=20)
    video = StoredVideo(PICTURES, RATE, EVERY, encoded.gop_offsets, encoded.gop_crc32, codec)
    ramp = np.arange(int(PICTURES / RATE * HERTZ), dtype=np.int16)[None]
    white = simplejpeg.encode_jpeg(np.full((*SIZE[::-1], 3), 250, np.uint8))
    members = (("flac", encode_flac(ramp, HERTZ)), ("mp4", encoded.content))
    jpegs = ((f"f{i:03d}.jpg", white) for i in range(2 if number == BOTH else 0))
    members = (*members, *jpegs)
    times = (0.0, 0.75) if number == BOTH else ()
    return ExtractionResult(f"toy/{key}", None, "", None, Quality(), members, times, video=video)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    paths = Store(tmp_path_factory.mktemp("videos") / "store")
    paths.root.mkdir()
    rows = synthetic.clip_rows(CLIPS)
    with writing(paths), open_write(paths) as writer:
        synthetic.annotate(writer, paths, rows)
        shard = ShardId(SHARD, "toy", "toy", synthetic.FINGERPRINT, "train", 1)
        with open_shard(paths, shard) as opened:
            for number, row in enumerate(rows):
                opened.add(extracted(number, row["key"]), key=row["key"], facts={}, media={})
        commit_shards(writer.con, [paths.root / opened.result.sidecar])
        writer.publish()
    return paths.root


@pytest.fixture(scope="module")
def videos(root):
    return sample_list(open_store(root), "SELECT clip_id FROM clips")


def spec(**changes) -> BatchSpec:
    common = {"frames": 4, "image_size": None, "read": ("frames", "waveform"), "pixels": "uint8",
              "seconds": PICTURES / RATE, "random": False, "frame_choice": "clip",
              "frame_source": "video"}  # fmt: skip
    return BatchSpec(CLIPS, **common | changes)


def numbers(video: torch.Tensor) -> list[list[int]]:
    """Return the number of each picture, by its brightness."""
    return torch.round(video.float().mean(dim=(2, 3, 4)) / 10).int().tolist()


def test_a_clip_of_pictures_with_its_sound(videos):
    batch = next(iter(Loader(videos, spec())))
    assert numbers(batch.video) == [[10, 11, 12, 13]] * CLIPS
    assert batch.video.shape[-2:] == SIZE[::-1]
    np.testing.assert_allclose(batch.frame_times, [np.arange(10, 14) / RATE] * CLIPS)
    assert batch.frames_valid.all()
    assert batch.waveform.shape == (CLIPS, 4000)
    assert (batch.waveform[:, 0] * 32768 == 10_000).all()
    assert batch.waveform_start.tolist() == [0.625] * CLIPS


@pytest.mark.parametrize("choice", ["random", "even", "times", "all", "segment", "clip", "window"])
def test_any_choice_takes_the_pictures_that_it_names(videos, choice):
    loader = Loader(
        videos,
        spec(frame_choice=choice, random=True, frame_times=(1.0, 0.2, 1.01)),
        seed=1,
    )
    (batch,) = loader
    wanted = np.rint(batch.frame_times.numpy() * RATE).astype(int).tolist()
    assert numbers(batch.video) == wanted
    store = open_store(videos.url)
    for clip_id, frames, taken in zip(batch.clip_ids, batch.video, wanted, strict=True):
        for picture, number in zip(frames, taken, strict=True):
            expected = store.pictures(clip_id, number, 1)[0]
            assert torch.equal(picture.movedim(0, -1), torch.from_numpy(expected))


def test_they_are_cropped_resized_and_normalised_as_frames_are(videos):
    plain = next(iter(Loader(videos, spec())))
    small = next(iter(Loader(videos, spec(image_size=24, pixels="float"))))
    assert small.video.shape == (CLIPS, 4, 3, 24, 24)
    red = small.video[:, :, 0].mean(dim=(2, 3)) * 0.229 + 0.485
    torch.testing.assert_close(red * 255, plain.video[:, :, 0].float().mean(dim=(2, 3)),
                               atol=1.0, rtol=0)  # fmt: skip


def test_jpegs_come_first_where_a_clip_has_both(videos, root):
    both = sample_list(
        open_store(root), "SELECT clip_id FROM clips WHERE key = ?", [f"k{BOTH:05d}"]
    )

    def frames(**source):
        chosen = replace(spec(frames=1, **source), batch_size=1)
        return next(iter(Loader(both, chosen))).video.float().mean()

    assert frames(frame_source=None) > 245
    assert frames(frame_source="frames") > 245
    assert frames(frame_source="video") < 200


def test_batches_are_the_same_in_worker_processes_and_of_single_samples(videos):
    chosen = spec(random=True, frame_choice="clip", clips=2)
    here, there = (list(Loader(videos, chosen, seed=2, workers=n)) for n in (0, 2))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.video, other.video)
        assert torch.equal(one.waveform, other.waveform)
    sample = Dataset(videos, chosen, seed=2)[0]
    assert sample["video"].shape[:2] == (2, 4)


def test_a_damaged_group_is_a_bad_sample(videos, root, tmp_path):
    store = open_store(root)
    (row,) = store.query(
        "SELECT byte_offset, gop_offsets FROM samples JOIN members USING (clip_id, shard) "
        "WHERE feature = 'video' AND clip_id = 'toy/k00001'"
    ).rows()
    content = bytearray((root / SHARD).read_bytes())
    content[row["byte_offset"] + row["gop_offsets"][1] + 20] ^= 255
    copy = tmp_path / "store"
    for path in root.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(root)).write_bytes(path.read_bytes())
    (copy / SHARD).write_bytes(content)
    samples = sample_list(open_store(copy), "SELECT clip_id FROM clips")
    with pytest.raises(BadSampleError, match=r"toy/k00001.*mp4: group 1 of its pictures"):
        list(Loader(samples, spec()))
    skipping = ErrorPolicy("skip")
    for clips in (1, 3):
        (batch,) = Loader(samples, spec(clips=clips), policy=skipping)
        assert len(batch) == (CLIPS - 1) * clips
        assert "toy/k00001" not in batch.clip_ids
    # Where the damaged group is not needed, it is not read.
    assert len(next(iter(Loader(samples, spec(clip_start=1.0))))) == CLIPS


def test_videos_that_cannot_be_read(videos, toy_list):
    with pytest.raises(StoreError, match="decode='device' decodes JPEGs"):
        Loader(videos, spec(decode="device", image_size=24))
    with pytest.raises(StoreError, match="no clip of the list has frames"):
        Loader(toy_list, spec())


def test_several_clips_of_a_sample(videos):
    batch = next(iter(Loader(videos, spec(clips=3))))
    assert numbers(batch.video) == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]] * CLIPS
    assert batch.clips == 3
    assert batch.clip_ids[:4] == ["toy/k00000"] * 3 + ["toy/k00001"]
    assert batch.indices.tolist() == [row for row in range(CLIPS) for _ in range(3)]
    assert len(batch.labels) == len(batch.padded) == len(batch.origin) == 3 * CLIPS
    starts = batch.by_sample(batch.waveform_start)
    assert starts.tolist() == [[0.0, 0.625, 1.25]] * CLIPS
    for values, rows in ((torch.zeros(4), batch), (torch.zeros(5), batch.rows(slice(5)))):
        with pytest.raises(ValueError, match="rows of 3 clips a sample"):
            rows.by_sample(values)


@settings(max_examples=20, deadline=None)
@given(
    clips=st.integers(1, 4),
    size=st.integers(1, 7),
    world=st.integers(1, 2),
    seed=st.integers(0, 3),
)
def test_random_clips_belong_to_the_row(videos, clips, size, world, seed):
    chosen = spec(random=True, clips=clips, sound_seconds=0.5, image_size=8)
    (whole,) = Loader(videos, chosen, seed=seed)
    starts = dict(zip(whole.clip_ids[::clips], whole.by_sample(whole.frame_times), strict=True))
    for rank in range(world):
        parts = replace(chosen, batch_size=max(size, world))
        for batch in Loader(videos, parts, seed=seed, rank=rank, world_size=world, threads=2):
            times = batch.by_sample(batch.frame_times)
            for clip_id, own in zip(batch.clip_ids[::clips], times, strict=True):
                assert torch.equal(own, starts[clip_id])
    ends = whole.waveform_start + 0.5
    assert (whole.frame_times[:, 0] >= whole.waveform_start - 1e-4).all()
    assert (whole.frame_times[:, -1] + 1 / RATE <= ends + 1 / RATE + 1e-4).all()
    if clips > 2:
        assert len({tuple(t.flatten().tolist()) for t in starts.values()}) > 1


def test_longer_sound_around_the_frames(videos):
    batch = next(iter(Loader(videos, spec(sound_seconds=1.0))))
    assert batch.waveform.shape == (CLIPS, HERTZ)
    assert batch.waveform_start.tolist() == [0.25] * CLIPS
    assert numbers(batch.video) == [[10, 11, 12, 13]] * CLIPS
    drawn = [
        next(iter(Loader(videos, spec(sound_seconds=1.0, random=True), seed=seed)))
        for seed in range(8)
    ]
    within = torch.cat([b.frame_times[:, 0] - b.waveform_start for b in drawn])
    assert within.min() < 0.15
    assert within.max() > 0.6
    for batch in drawn:
        first = torch.round(batch.waveform[:, 0] * 32768)
        np.testing.assert_allclose(first, np.rint(batch.waveform_start * HERTZ), atol=1)


@given(
    stored=st.integers(1, 40),
    frames=st.integers(1, 8),
    stride=st.integers(1, 3),
    seconds=st.floats(0.05, 4.0),
    start=st.none() | st.floats(0, 5),
    seed=st.none() | st.integers(0, 5),
    count=st.integers(1, 4),
)
def test_frames_lie_within_their_sound(stored, frames, stride, seconds, start, seed, count):
    times, step = (np.arange(stored) / 16).astype(np.float32), 1 / 16
    length = frames * stride * step
    for number in range(count):
        generator = None if seed is None else np.random.default_rng(seed)
        clip = Clip(frames, stride, start, number, count)
        if seconds < length - step:
            with pytest.raises(ValueError, match="is shorter than"):
                clip_within_sound(clip, times, step, seconds, generator)
            continue
        chosen, sound = clip_within_sound(clip, times, step, seconds, generator)
        assert len(chosen) == frames
        assert all(0 <= b - a <= stride for a, b in itertools.pairwise(chosen))
        assert 0 <= chosen[0] <= chosen[-1] < stored
        assert sound.start >= 0
        if seconds <= stored * step:
            assert sound.start + sound.seconds <= stored * step + 1e-4
            if start is None and length <= seconds:
                assert times[chosen[0]] >= sound.start - 1e-3
                assert times[chosen[0]] + length <= sound.start + seconds + 1e-3


@given(st.lists(st.integers(0, PICTURES - 1), max_size=9), st.integers(1, 9))
def test_windows_hold_the_pictures_and_no_idle_group(pictures, every):
    groups = -(-PICTURES // every)
    offsets = tuple(100 + 10 * g for g in range(groups + 1))
    video = StoredVideo(PICTURES, RATE, every, offsets, (0,) * groups, "av1")
    found = windows(video, pictures)
    assert sorted(n for window in found for n in window.pictures) == sorted(set(pictures))
    needed = {number // every for number in pictures}
    read = [
        group
        for window in found
        for group in range(
            window.range.first_group, window.range.first_group + window.range.size // 10
        )
    ]
    assert sorted(read) == sorted(needed)


def test_pictures_beyond_the_video_are_refused():
    video = StoredVideo(8, RATE, 8, (0, 10), (0,), "av1")
    with pytest.raises(ValueError, match=r"pictures 3 to 8 are not in \[0, 8\)"):
        windows(video, (3, 8))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"clips": 0}, "clips=0"),
        ({"clips": 5000}, "more than 4096"),
        ({"clips": 2, "frame_choice": "even"}, "clips needs frame_choice='clip'"),
        ({"clips": 2, "clip_start": 1.0}, "use clips=1"),
        ({"sound_seconds": 0.0}, "sound_seconds=0.0"),
        ({"sound_seconds": 1.0, "sound_offset": 0.1}, "choose one of them"),
        ({"frame_source": "mp4"}, "frame_source='mp4' is not one of 'frames', 'video'"),
    ],
)
def test_settings_that_exclude_each_other(settings, words):
    with pytest.raises(ValueError, match=words):
        spec(**settings)
