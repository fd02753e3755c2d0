"""Interrupted companion shards are continued, with the bytes of an undisturbed build."""

from pathlib import Path

import pytest

from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.drop import drop_stage
from avstore.manifests.gc import find_garbage
from avstore.manifests.lock import writing
from avstore.manifests.partials import count_kept, find_partials
from avstore.manifests.store import Store
from avstore.manifests.verify import verify
from avstore.pipelines.build.recovery import recover
from avstore.pipelines.features import driver
from avstore.pipelines.features.companion import FeatureJob, compute_companion
from avstore.pipelines.features.driver import FeatureOptions, build_feature
from tests.manifests import synthetic

TOY = "tests.pipelines.features.toy:BatchDependent"


class Stop(Exception):  # noqa: N818 -- a kill, not an error
    """A kill, as far as the files are concerned."""


def first_job(store: Store, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> FeatureJob:
    """Return the job of the first companion, of three clips with four frames each."""
    found: list[FeatureJob] = []
    with monkeypatch.context() as patch:
        patch.setattr(driver, "completed", lambda _client, _submit, jobs: found.extend(jobs) or ())
        build_feature(TOY, FeatureOptions(store.root, scheduler=scheduler, device="cpu"))
    return next(job for job in found if "train-000000" in job.path)


def stop_at(clips: int, kept: list[int]):
    def on_clip(done: int, is_kept: bool) -> None:
        if is_kept:
            kept.append(done)
        elif done == clips:
            raise Stop

    return on_clip


@pytest.mark.parametrize("stops", [[1], [2], [3], [1, 2, 3], [1, 1]])
def test_values_are_kept_with_their_batches(
    store: Store, scheduler: str, monkeypatch: pytest.MonkeyPatch, stops: list[int]
) -> None:
    job = first_job(store, scheduler, monkeypatch)
    files = (store.root / job.path, (store.root / job.path).with_suffix(".parquet"))
    assert compute_companion(job).clips == 3
    expected = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()

    kept: list[int] = []
    for number in stops:
        try:
            compute_companion(job, stop_at(number, kept))
        except Stop:
            assert count_kept(store, companions=True) == (number, 1)
            assert count_kept(store) == (0, 0)
            with open_read(store) as con:
                assert list(verify(con, store)) == []
                assert find_garbage(con, store) == []
    if files[1].is_file():  # [1, 1]: the second stop is before the values that were missing
        assert kept == [0, 1]
    else:
        compute_companion(job, stop_at(0, kept))
        assert kept == [0, *stops]
    assert [path.read_bytes() for path in files] == expected
    assert find_partials(store) == []


def test_the_next_build_continues(
    store: Store, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = first_job(store, scheduler, monkeypatch)
    with pytest.raises(Stop):
        compute_companion(job, stop_at(2, []))
    built = build_feature(TOY, FeatureOptions(store.root, scheduler=scheduler, device="cpu"))
    assert (built.clips, built.shards, built.problems) == (7, 3, ())
    assert find_partials(store) == []


def test_partials_of_shards_that_no_plan_names_are_removed(
    store: Store, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = first_job(store, scheduler, monkeypatch)
    with pytest.raises(Stop):
        compute_companion(job, stop_at(2, []))
    (partial,) = find_partials(store)
    planned = store.shards / "toy" / synthetic.STAGE / "test-000000.tar"
    strays = [partial.shard.with_name("train-000000.tar"), planned.with_name("train-000077.tar")]
    for shard in strays:
        copy = type(partial)(shard, "0123abcd")
        copy.tar.write_bytes(partial.tar.read_bytes())
        copy.journal.write_bytes(partial.journal.read_bytes())
    with open_read(store) as con:
        garbage = {Path(item.path).name for item in find_garbage(con, store)}
    assert garbage == {
        f".{shard.name}.0123abcd{part}.partial" for shard in strays for part in ("", ".rows")
    }
    with writing(store), open_write(store) as writer:
        recover(writer, store)
        assert find_partials(store) == [partial]
        drop_stage(writer, store, "toy", synthetic.STAGE)
        writer.publish()
        recover(writer, store)
    assert find_partials(store) == []
