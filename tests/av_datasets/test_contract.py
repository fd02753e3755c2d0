"""What every dataset must do, on made files and, where they are at hand, on the real ones."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avstore.datasets.registry import get, own_names
from avstore.datasets.spec import AnnotationError, Annotations, DatasetSpec, by_id, check_key
from avstore.pipelines.build.annotations import read_annotations
from avstore.pipelines.extract.recipe import load_recipe
from tests.av_datasets.fixtures import fixture_of, published_of

EVERY = pytest.mark.parametrize("spec", [get(name) for name in own_names()], ids=own_names())


def check(spec: DatasetSpec, found: Annotations) -> None:
    """Everything that holds of any dataset's annotations."""
    labels = by_id(spec.vocabulary())
    assert len({clip.key for clip in found.clips}) == len(found.clips)
    for clip in found.clips:
        assert clip.dataset == spec.name
        assert check_key(clip.key) is None
        assert clip.split
        assert len(clip.labels) == len(clip.label_ids) == len(set(clip.label_ids))
        assert clip.labels == tuple(labels[label_id].label for label_id in clip.label_ids)
        assert (clip.start_s is None) == (clip.end_s is None)
        assert clip.start_s is None or 0 <= clip.start_s < (clip.end_s or 0)
        names = spec.media_names(clip)
        assert names
        assert not any("/" in name.stem or "." in name.stem for name in names)
    clip_ids = {clip.clip_id for clip in found.clips}
    for segment in found.segments:
        assert segment.clip_id in clip_ids
        assert segment.modality in {"audio", "visual", "both"}
        assert segment.label == labels[segment.label_id].label
        assert 0 <= segment.onset_s < segment.offset_s <= spec.clip_seconds
    for label in found.clip_labels:
        assert label.clip_id in clip_ids
        assert label.label_set in spec.label_sets
        assert label.modality in {"audio", "visual", "both"}
        assert label.label == labels[label.label_id].label
    for bad in found.bad_rows:
        assert bad.row >= 1
        assert bad.reason
        assert bad.file


@EVERY
def test_spec_is_whole(spec: DatasetSpec) -> None:
    assert spec.title
    assert spec.licence
    assert spec.homepage.startswith("https://")
    ids = [label.label_id for label in spec.vocabulary()]
    assert len(ids) == len(set(ids))
    load_recipe(spec.recipe)


@EVERY
def test_fixture(spec: DatasetSpec, tmp_path: Path) -> None:
    fixture = fixture_of(spec.name)
    found = spec.parse(fixture.write(tmp_path))
    check(spec, found)
    assert Counter(clip.split for clip in found.clips) == fixture.splits
    assert [bad.row for bad in found.bad_rows] == fixture.bad
    assert len(found.segments) == fixture.segments
    assert len(found.clip_labels) == fixture.clip_labels


@EVERY
def test_real_files_have_the_published_counts(spec: DatasetSpec, shared_data: Path) -> None:
    published = published_of(spec.name)
    if published is None:
        pytest.skip(f"shared/data has no annotation files of {spec.name}")
    found = spec.parse([shared_data / "annotations" / name for name in published.files])
    check(spec, found)
    assert Counter(clip.split for clip in found.clips) == published.splits
    subsets = Counter(subset for clip in found.clips for subset in clip.subsets)
    assert subsets == published.subsets
    assert len(found.bad_rows) == published.bad
    assert len(found.segments) == published.segments
    assert len(found.clip_labels) == published.clip_labels


@EVERY
def test_manifest_tables_say_what_was_parsed(spec: DatasetSpec, tmp_path: Path) -> None:
    paths = fixture_of(spec.name).write(tmp_path)
    parsed, tables = spec.parse(paths), read_annotations(spec, paths)
    rows = tables.clips.to_pylist()
    assert [row["clip_id"] for row in rows] == [clip.clip_id for clip in parsed.clips]
    assert [row["position"] for row in rows] == list(range(len(rows)))
    assert [tuple(row["label_ids"]) for row in rows] == [c.label_ids for c in parsed.clips]
    assert [row["start_s"] for row in rows] == [clip.start_s for clip in parsed.clips]
    assert tables.annotation_errors.num_rows == len(parsed.bad_rows)
    assert tables.segments.num_rows == len(parsed.segments)
    assert tables.clip_labels.num_rows == len(parsed.clip_labels)


@EVERY
@pytest.mark.parametrize("content", ["", "\n\n", "no such form\n", "{", "\x00\x01"])
def test_unusable_file_raises_one_line_with_its_path(
    spec: DatasetSpec, tmp_path: Path, content: str
) -> None:
    for name in fixture_of(spec.name).files:
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(AnnotationError) as caught:
            spec.parse([path])
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@EVERY
def test_missing_file(spec: DatasetSpec, tmp_path: Path) -> None:
    name = next(iter(fixture_of(spec.name).files))
    with pytest.raises(AnnotationError, match=str(tmp_path)):
        spec.parse([tmp_path / name])


@EVERY
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_damaged_files_give_rows_reasons_or_one_error(
    spec: DatasetSpec, tmp_path: Path, data: st.DataObject
) -> None:
    """Random bytes of the fixture are cut, replaced and inserted."""
    paths = fixture_of(spec.name).write(tmp_path)
    path = data.draw(st.sampled_from(paths))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(start, min(len(content), start + 30)))
        content[start:end] = data.draw(st.binary(max_size=12))
    path.write_bytes(bytes(content))
    try:
        found = spec.parse(paths)
    except AnnotationError as error:
        found, message = None, str(error)
    if found is None:
        assert "\n" not in message
    else:
        check(spec, found)


def test_registry_names_the_nearest() -> None:
    with pytest.raises(LookupError, match="'audioset'"):
        get("AudioSets")
