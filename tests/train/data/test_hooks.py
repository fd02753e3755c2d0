"""A user's functions of samples and batches, and columns of the query in the batch."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.store import StoreError
from avstore.train.data import (
    Augment,
    BatchSpec,
    Dataset,
    Loader,
    Mixture,
    WeightPhase,
    join,
    sample_list,
    sources,
)
from avstore.train.data.batch import Batch
from avstore.train.data.batch_keys import RESERVED

CAPTIONED = """
SELECT clip_id, 'clip ' || key AS caption, range((hash(key) % 3)::BIGINT) AS numbers,
       CASE WHEN split = 'test' THEN NULL ELSE 1 END AS known, 2.5 AS half, sum(1) OVER () AS total,
       split = 'train' AS training
FROM clips
"""
COLUMNS = ("caption", "numbers", "known", "half", "total", "training")


@pytest.fixture(scope="module")
def captioned(toy_store):
    return sample_list(toy_store, CAPTIONED, columns=COLUMNS)


def spec(size=4, **changes):
    common = {"frames": 2, "image_size": 24, "fbank_frames": 48, "frame_choice": "even"}
    return BatchSpec(size, **common | changes)


def flip_and_note(sample, generator):
    """Flip half of the samples, and say which."""
    flipped = generator.random() < 0.5
    if flipped:
        sample["frames"] = sample["frames"][:, :, ::-1]
    return {**sample, "flipped": flipped, "draws": generator.random(3)}


def test_a_transform_changes_frames_before_they_are_normalised(toy_list):
    plain = list(Loader(toy_list, spec()))
    changed = list(Loader(toy_list, spec(transform=flip_and_note)))
    for before, after in zip(plain, changed, strict=True):
        assert after["draws"].shape == (len(after), 3)
        for row in range(len(after)):
            expected = before.video[row]
            if after["flipped"][row]:
                expected = expected.flip(-1)
            assert torch.equal(after.video[row], expected)
        assert torch.equal(before.audio, after.audio)
        assert torch.equal(before.frame_times, after.frame_times)
    flipped = torch.cat([batch["flipped"] for batch in changed])
    assert flipped.dtype == torch.bool
    assert 0 < flipped.sum() < len(flipped)


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(1, 9),
    world=st.integers(1, 3),
    threads=st.integers(1, 3),
    mixup=st.sampled_from([0.0, 0.5]),
    start=st.integers(0, 2),
)
def test_its_choices_belong_to_the_row(toy_list, size, world, threads, mixup, start):
    """Neither batch size, ranks, threads nor a resume change what a transform does to a row."""
    chosen = spec(
        23, transform=flip_and_note, augment=Augment(mixup=mixup), labels="multi_hot",
        batch_transform=add_draws,
    )  # fmt: skip
    (whole,) = Loader(toy_list, chosen, seed=3)
    rows = {clip: row for row, clip in enumerate(whole.clip_ids)}
    parts = replace(chosen, batch_size=max(size, world))
    for rank in range(world):
        options = {"seed": 3, "rank": rank, "world_size": world, "threads": threads}
        loader = Loader(toy_list, parts, **options)
        loader.step = min(start, len(loader) - 1)
        for batch in loader:
            for row, clip in enumerate(batch.clip_ids):
                for name in ("video", "fbank", "flipped", "draws", "batch draws"):
                    assert torch.equal(batch[name][row], whole[name][rows[clip]])


def add_draws(batch, generators):
    draws = torch.tensor([generator.random() for generator in generators])
    return replace(batch, extras={**batch.extras, "batch draws": draws})


@pytest.mark.parametrize("how", ["lambda", "partial", "local"])
def test_functions_of_any_kind_reach_worker_processes(toy_list, how):
    scale = 3

    def local(sample, generator):
        return {**sample, "scaled": sample["fbank"] * scale + generator.random()}

    function = {"lambda": lambda s, g: local(s, g) | {"n": 1}, "partial": partial(local)}.get(
        how, local
    )
    chosen = spec(8, transform=function)
    here, there = (list(Loader(toy_list, chosen, workers=n)) for n in (0, 1))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one["scaled"], other["scaled"])


def views(sample, generator):
    """Two crops of each sample, and a spectrum of the sound instead of the fbank."""
    frames = sample["frames"]
    sample["frames"] = np.stack([frames[:, :16, :16], frames[:, 8:, 8:]])
    sample["waveform"] = np.stack([sample["waveform"][:512], -sample["waveform"][:512]])
    sample["fbank"] = np.abs(np.fft.rfft(sample["waveform"])).astype(np.float32)[:, None]
    return sample


def test_arrays_may_come_out_in_other_shapes(toy_list):
    chosen = spec(read=("frames", "waveform"), transform=views)
    whole = next(iter(Loader(toy_list, spec(read=("frames", "waveform")))))
    batch = next(iter(Loader(toy_list, chosen)))
    assert batch.video.shape == (4, 2, 2, 3, 16, 16)
    assert torch.equal(batch.video[:, 0], whole.video[..., :16, :16])
    assert torch.equal(batch.video[:, 1], whole.video[..., 8:, 8:])
    assert batch.waveform.shape == (4, 2, 512)
    assert torch.equal(batch.waveform[:, 1], -whole.waveform[:, :512])
    assert batch.waveform_samples.tolist() == [512] * 4
    assert batch.fbank.shape == (4, 2, 1, 257)
    assert batch.sample_rate == 16000


def test_what_a_transform_leaves_out_is_not_in_the_batch(toy_list):
    chosen = spec(transform=lambda sample, _: {"mean": sample["fbank"].mean()})
    batch = next(iter(Loader(toy_list, chosen)))
    assert list(batch) == ["mean", "labels", "clip_ids"]
    assert batch.video is None
    assert batch["mean"].shape == (4,)


def test_a_single_sample_is_transformed_too(toy_list):
    dataset = Dataset(toy_list, spec(transform=flip_and_note, batch_transform=add_draws))
    assert dataset[3]["draws"].shape == (3,)
    assert "batch draws" not in dataset[3]


def failing(sample, generator):
    raise ZeroDivisionError("by zero")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda s, g: None, "returned NoneType for toy/k.*a dict"),
        (lambda s, g: {**s, "labels": [1]}, "another labels for toy/k.*under another name"),
        (lambda s, g: {**s, "step": 1}, "'step'.*a batch has a key of that name"),
        (lambda s, g: {**s, "frames": s["frames"][0]}, r"frames uint8 \[24, 24, 3\]"),
        (lambda s, g: {**s, "fbank": "x"}, "fbank for toy/k.*no array of numbers"),
        (lambda s, g: {**s, s["clip_id"]: 1}, "must be alike"),
        (lambda s, g: {**s, "x": np.zeros(len(s["labels"]))}, "'x' has the shapes"),
        (lambda s, g: {**s, "x": 1 if len(s["labels"]) > 1 else 0.5}, "'x' is .*return one kind"),
        (lambda s, g: {**s, "x": 1 if len(s["labels"]) > 1 else None}, "'x' is .*return one kind"),
        (lambda s, g: {**s, "x": torch.ones(2, dtype=torch.bfloat16)}, "x for toy/k.*NumPy"),
        (lambda s, g: {**s, "frames": s["frames"][: len(s["labels"])]}, "as many of each"),
    ],
)
def test_what_is_no_sample_is_one_line(toy_list, function, words):
    with pytest.raises(StoreError, match=words) as caught:
        list(Loader(toy_list, spec(transform=function)))
    assert "\n" not in str(caught.value)


def test_an_error_of_a_transform_names_the_clip(toy_list):
    with pytest.raises(ZeroDivisionError) as caught:
        list(Loader(toy_list, spec(transform=failing)))
    assert "in the transform of toy/k" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda b, g: None, "return a Batch of as many"),
        (lambda b, g: b.rows(slice(1)), "return a Batch of as many"),
        (lambda b, g: replace(b, video=b.video[:2]), "2 rows of 'video' for a batch of 4"),
    ],
)
def test_a_batch_transform_returns_a_batch(toy_list, result, words):
    with pytest.raises(StoreError, match=words):
        list(Loader(toy_list, spec(batch_transform=result)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("which", ["transform", "batch_transform"])
def test_no_row_is_lost_when_a_transform_stops_an_iteration(toy_list, threads, which):
    stopping = spec(**{which: lambda sample, generators: next(iter(()))})
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        list(Loader(toy_list, stopping, threads=threads))


def test_fbanks_of_several_views_keep_their_frames(toy_list):
    plain = next(iter(Loader(toy_list, spec())))
    several = spec(transform=lambda s, _: {**s, "fbank": np.stack([s["fbank"]] * 3)})
    batch = next(iter(Loader(toy_list, several)))
    assert batch.fbank.shape == (4, 3, 48, 16)
    assert torch.equal(batch.audio_frames, plain.audio_frames)


def test_times_are_not_changed_in_place(toy_list):
    def late(sample, generator):
        sample["frame_times"] += 100
        return sample

    batch = next(iter(Loader(toy_list, spec(transform=late))))
    assert batch.frame_times.max() < 10


def test_a_transform_may_take_other_frames(toy_list):
    chosen = spec(transform=lambda s, _: {**s, "frames": s["frames"][:1]})
    batch = next(iter(Loader(toy_list, chosen)))
    assert batch.video.shape[1] == 1
    assert batch.frame_times.shape == batch.frames_valid.shape == (4, 0)


def test_sound_that_a_transform_makes_has_no_rate(toy_list):
    def noise(sample, generator):
        return {**sample, "waveform": generator.random(100, np.float32)}

    batch = next(iter(Loader(toy_list, spec(transform=noise))))
    assert batch.waveform.shape == (4, 100)
    assert batch.sample_rate is None


def test_whether_a_column_is_a_list_does_not_depend_on_the_batch(captioned):
    for batch in Loader(captioned, spec(1)):
        assert isinstance(batch["known"], list)
        assert isinstance(batch["total"], torch.Tensor)


def test_transforms_that_cannot_be():
    with pytest.raises(ValueError, match="transform='flip' is not a function"):
        spec(transform="flip")
    for device in ({"decode": "device"}, {"fbank": "device"}):
        with pytest.raises(ValueError, match="a transform is given decoded frames"):
            spec(transform=flip_and_note, **device)


def test_columns_of_the_query_are_in_the_batch(toy_store, captioned):
    batches = list(Loader(captioned, spec(5)))
    rows = toy_store.query(CAPTIONED).rows()
    expected = {row["clip_id"]: row for row in rows}
    for batch in batches:
        assert isinstance(batch["total"], torch.Tensor)
        assert batch["half"].dtype == torch.float64
        assert batch["training"].dtype == torch.bool
        for row, clip in enumerate(batch.clip_ids):
            own = expected[clip]
            for name in COLUMNS:
                value = own[name]  # Decimal of half and total
                assert batch[name][row] == (float(value) if name in ("half", "total") else value)
    both = join(*batches)
    assert len(both["caption"]) == len(both["half"]) == 23
    assert both.rows([2, 0])["caption"] == [both["caption"][2], both["caption"][0]]
    there = list(Loader(captioned, spec(5), workers=2))
    assert [b["caption"] for b in there] == [b["caption"] for b in batches]
    assert "caption" in repr(captioned)


def test_a_transform_may_choose_of_a_column(captioned):
    def one(sample, generator):
        sample["caption"] = sample["caption"].upper()
        return {name: value for name, value in sample.items() if name != "numbers"}

    batch = next(iter(Loader(captioned, spec(transform=one))))
    assert all(caption.startswith("CLIP ") for caption in batch["caption"])
    assert "numbers" not in batch


def test_columns_of_a_mixture(toy_store):
    samples, parts = sources(toy_store, {"all": CAPTIONED}, columns=["caption"])
    mixed = Mixture(samples, parts, (WeightPhase(0, (1,)),), steps=2, batch_size=3, seed=0)
    batch = next(iter(Loader(mixed, spec(3))))
    keys = [clip.partition("/")[2] for clip in batch.clip_ids]
    assert batch["caption"] == [f"clip {key}" for key in keys]


@pytest.mark.parametrize(
    ("sql", "columns", "words"),
    [
        ("SELECT clip_id, split AS word FROM clips", ["wort"], r"'wort' \(did you mean 'word'\?\)"),
        ("SELECT clip_id FROM clips", ["x"], "it returns only clip_id"),
        ("SELECT clip_id, split AS labels FROM clips", ["labels"], "under another name"),
        ('SELECT clip_id, key AS "A", 1 AS a FROM clips', ["a"], "several columns 'a'"),
        (
            "SELECT clip_id, unnest(['a', 'b']) AS word FROM clips",
            ["word"],
            r"toy/k.* several values of 'word'.*list\(",
        ),
    ],
)
def test_columns_that_cannot_be(toy_store, sql, columns, words):
    with pytest.raises(StoreError, match=words):
        sample_list(toy_store, sql, columns=columns)


@pytest.mark.parametrize("columns", ["caption", None])
def test_what_is_no_list_of_columns(toy_store, columns):
    with pytest.raises(ValueError, match="columns is a list of names"):
        sample_list(toy_store, CAPTIONED, columns=columns)


def test_numbers_within_lists_stay_as_they_are(toy_store):
    sql = "SELECT clip_id, [1.5, 2.5] AS pair FROM clips"
    batch = next(iter(Loader(sample_list(toy_store, sql, columns=["pair"]), spec())))
    assert [[float(x) for x in pair] for pair in batch["pair"]] == [[1.5, 2.5]] * 4


def test_no_column_can_hide_what_a_batch_has():
    assert set(Batch.__dataclass_fields__) <= RESERVED
