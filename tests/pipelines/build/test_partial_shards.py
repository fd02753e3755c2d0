"""Interrupted shards are continued: same bytes, nothing extracted twice, nothing left over."""

import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from avstore.manifests.partials import (
    PartialShard,
    count_kept,
    new_partial,
    partials_of,
    read_journal,
)
from avstore.manifests.store import Store
from avstore.manifests.verdicts import Verdict
from avstore.pipelines.build import dispatch, shard_jobs
from avstore.pipelines.build.cluster import connect
from avstore.pipelines.build.shard_jobs import (
    ClipJob,
    PostponedShard,
    ShardEvents,
    ShardJob,
    build_shard,
)
from avstore.pipelines.build.shard_writer import ShardId
from avstore.pipelines.extract.recipe import load_recipe
from avstore.pipelines.extract.records import ClipSource, ExtractionResult
from avstore.pipelines.extract.sandbox import Sandbox
from avstore.pipelines.fetch.source import MachineError
from tests.media import make_clip

SHARD = "shards/toy/stella/train-000000.tar"
CLIPS = 5
NUMBERS = itertools.count(1)
NO_MEDIA = 2  # the number of the clip whose file is none


class Stop(Exception):  # noqa: N818 -- a kill, not an error
    """A kill, as far as the files are concerned."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for i in range(CLIPS):
        make_clip(folder / f"c{i}.mp4", 3.0, seed=i, tone_hz=300 + 100 * i)
    (folder / f"c{NO_MEDIA}.mp4").write_text("<html>gone</html>")
    return folder


def job_of(videos: Path, store: Path) -> ShardJob:
    """Return the shard's job; as in a store, each has a number of its own."""
    recipe = load_recipe("stella")
    jobs = [
        ClipJob(
            ClipSource(f"toy/c{i}", f"c{i}", str(videos / f"c{i}.mp4"), 0.0, 3.0),
            facts={"start_s": 30.0},
            fetched_at=datetime(2026, 1, 1, 12),
        )
        for i in range(CLIPS)
    ]
    shard = ShardId(SHARD, "toy", recipe.name, recipe.fingerprint, "train", next(NUMBERS))
    return ShardJob(store, shard, recipe, tuple(jobs))


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an undisturbed build."""
    store = tmp_path_factory.mktemp("whole")
    build_shard(job_of(videos, store))
    return store


def digest(store: Path) -> str:
    return hashlib.sha256((store / SHARD).read_bytes()).hexdigest()


def rows(store: Path) -> list[dict]:
    table = pq.read_table((store / SHARD).with_suffix(".parquet"))
    assert len(set(table["quality_seq"].to_pylist())) == 1
    return table.drop(["extracted_at", "quality_seq"]).to_pylist()


def run(job: ShardJob, stop_after: int | None = None) -> tuple[list[str], list[str]]:
    """Build, stopped after so many clips; return the clips that were kept and those extracted."""
    kept: list[str] = []
    extracted: list[str] = []

    def on_clip(result: ExtractionResult) -> None:
        extracted.append(result.clip_id)
        if len(extracted) == stop_after:
            raise Stop

    try:
        build_shard(job, ShardEvents(kept.extend, on_clip))
    except Stop:
        assert stop_after
    return kept, extracted


def partial_of(store: Path) -> PartialShard:
    (found,) = partials_of(store / SHARD)
    return found


def assert_finished(store: Path, whole: Path) -> None:
    assert digest(store) == digest(whole)
    assert rows(store) == rows(whole)
    left = sorted(path.name for path in (store / SHARD).parent.iterdir())
    assert left == ["train-000000.parquet", "train-000000.tar"]


@pytest.mark.parametrize("step", [1, 2, 3, CLIPS])
def test_stopped_after_every_kth_clip_gives_the_same_bytes(
    videos: Path, whole: Path, tmp_path: Path, step: int
) -> None:
    extracted: list[str] = []
    while not (tmp_path / SHARD).with_suffix(".parquet").is_file():
        kept, new = run(job_of(videos, tmp_path), stop_after=step)
        assert kept == extracted
        extracted += new
        assert len(partials_of(tmp_path / SHARD)) <= 1
    assert extracted == [f"toy/c{i}" for i in range(CLIPS)]
    assert_finished(tmp_path, whole)


def test_the_clips_of_a_killed_process_are_kept(videos: Path, whole: Path, tmp_path: Path) -> None:
    """A child is killed with SIGKILL after its third clip."""
    if (child := os.fork()) == 0:
        build_shard(job_of(videos, tmp_path), ShardEvents(on_clip=kill_after(3)))
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 9
    assert count_kept(Store(tmp_path)) == (3, 1)
    assert run(job_of(videos, tmp_path)) == (
        ["toy/c0", "toy/c1", "toy/c2"],
        ["toy/c3", "toy/c4"],
    )
    assert_finished(tmp_path, whole)


@pytest.mark.slow
def test_a_retried_dask_task_continues_what_the_killed_worker_did(
    videos: Path, whole: Path, tmp_path: Path
) -> None:
    events: list[dict] = []
    with connect(None, 1) as client:
        (worker,) = client.run(os.getpid).values()
        client.subscribe_topic("avstore-clips", lambda event: events.append(event[1]))
        future = dispatch._submit(client, job_of(videos, tmp_path))
        while count_kept(Store(tmp_path)) < (2, 1):
            time.sleep(0.002)
        os.kill(worker, 9)
        assert future.result(timeout=120).stored == CLIPS - 1
    assert_finished(tmp_path, whole)
    kept = [event["clips"] for event in events if event.get("kept")]
    assert [list(clips[:2]) for clips in kept] == [["toy/c0", "toy/c1"]]


def kill_after(clips: int) -> Callable[[ExtractionResult], None]:
    seen: list[str] = []

    def on_clip(result: ExtractionResult) -> None:
        seen.append(result.clip_id)
        if len(seen) == clips:
            os.kill(os.getpid(), 9)

    return on_clip


def cut_journal(partial: PartialShard) -> None:
    content = partial.journal.read_bytes()
    partial.journal.write_bytes(content[: len(content) - 40])


def cut_tar(partial: PartialShard) -> None:
    os.truncate(partial.tar, partial.tar.stat().st_size - 700)


def flip_tar(partial: PartialShard) -> None:
    """Change a byte of the last clip's members."""
    content = bytearray(partial.tar.read_bytes())
    content[read_journal(partial)[1][2].end + 2000] ^= 1
    partial.tar.write_bytes(content)


def flip_journal(partial: PartialShard) -> None:
    lines = partial.journal.read_bytes().split(b"\n")
    lines[4] = lines[4].replace(b'"stored": true', b'"stored": 1   ', 1)
    partial.journal.write_bytes(b"\n".join(lines))


def append_garbage(partial: PartialShard) -> None:
    with partial.tar.open("ab") as file:
        file.write(b"x" * 5000)
    with partial.journal.open("ab") as file:
        file.write(b'{"row": {"clip_id": ')


@pytest.mark.parametrize(
    ("damage", "kept"),
    [(cut_journal, 3), (cut_tar, 3), (flip_tar, 3), (flip_journal, 3), (append_garbage, 4)],
)
def test_torn_and_damaged_ends_are_cut_off(
    videos: Path, whole: Path, tmp_path: Path, damage: Callable[[PartialShard], None], kept: int
) -> None:
    run(job_of(videos, tmp_path), stop_after=4)
    damage(partial_of(tmp_path))
    assert len(run(job_of(videos, tmp_path))[0]) == kept
    assert_finished(tmp_path, whole)


def test_a_missing_tar_and_an_empty_journal_keep_nothing(
    videos: Path, whole: Path, tmp_path: Path
) -> None:
    run(job_of(videos, tmp_path), stop_after=2)
    partial_of(tmp_path).tar.unlink()
    new_partial(tmp_path / SHARD).journal.write_bytes(b"")
    assert run(job_of(videos, tmp_path))[0] == []
    assert_finished(tmp_path, whole)


def test_a_kill_between_tar_and_sidecar_costs_nothing(
    videos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("avstore.pipelines.build.shard_writer.write_sidecar", stop)
        with pytest.raises(Stop):
            build_shard(job_of(videos, tmp_path))
    assert (tmp_path / SHARD).is_file()
    assert len(run(job_of(videos, tmp_path))[0]) == CLIPS
    assert_finished(tmp_path, whole)


def test_the_longest_of_several_partials_is_taken(
    videos: Path, whole: Path, tmp_path: Path
) -> None:
    run(job_of(videos, tmp_path), stop_after=2)
    old = partial_of(tmp_path)
    copy = new_partial(tmp_path / SHARD)
    shutil.copy(old.tar, copy.tar)
    shutil.copy(old.journal, copy.journal)
    run(job_of(videos, tmp_path), stop_after=1)  # takes one over, and removes both
    longer = partial_of(tmp_path)
    shutil.copy(longer.tar, copy.tar)
    copy.journal.write_bytes(b"\n".join(longer.journal.read_bytes().split(b"\n")[:2]) + b"\n")
    assert len(run(job_of(videos, tmp_path))[0]) == 3
    assert_finished(tmp_path, whole)


def test_a_writer_that_lost_its_files_disturbs_nobody(
    videos: Path, whole: Path, tmp_path: Path
) -> None:
    """Dask starts a job again when its worker is lost; the worker may still be at work."""

    def overtake(result: ExtractionResult) -> None:
        if result.clip_id == "toy/c1":
            assert run(job_of(videos, tmp_path)) == (
                ["toy/c0", "toy/c1"],
                ["toy/c2", "toy/c3", "toy/c4"],
            )

    with pytest.raises(MachineError, match="another worker is writing this shard"):
        build_shard(job_of(videos, tmp_path), ShardEvents(on_clip=overtake))
    assert_finished(tmp_path, whole)


def changed_file(job: ShardJob, folder: Path) -> ShardJob:
    make_clip(folder / "c1.mp4", 3.0, seed=77)
    return job


def touched_file(job: ShardJob, folder: Path) -> ShardJob:
    os.utime(folder / "c1.mp4")
    return job


def moved_clip(job: ShardJob, _folder: Path) -> ShardJob:
    clips = list(job.clips)
    clips[1] = replace(clips[1], source=replace(clips[1].source, offset_s=0.5))
    return replace(job, clips=tuple(clips))


def lacking_clip(job: ShardJob, _folder: Path) -> ShardJob:
    return replace(job, clips=(job.clips[0], *job.clips[2:]))


def other_recipe(job: ShardJob, _folder: Path) -> ShardJob:
    recipe = load_recipe("uavm")
    shard = replace(job.shard, recipe=recipe.name, fingerprint=recipe.fingerprint)
    return replace(job, recipe=recipe, shard=shard)


def new_mask(job: ShardJob, folder: Path) -> ShardJob:
    (folder / "mask.png").write_bytes(b"png")
    clips = list(job.clips)
    clips[1] = replace(clips[1], masks=(("mask_0.png", str(folder / "mask.png")),))
    return replace(job, clips=tuple(clips))


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (changed_file, 1),
        (touched_file, 3),
        (moved_clip, 1),
        (lacking_clip, 1),
        (other_recipe, 0),
        (new_mask, 1),
    ],
)
def test_clips_are_kept_only_while_plan_sources_and_recipe_are_the_same(
    videos: Path,
    tmp_path: Path,
    change: Callable[[ShardJob, Path], ShardJob],
    kept: int,
) -> None:
    folder = shutil.copytree(videos, tmp_path / "videos")
    run(job_of(folder, tmp_path / "store"), stop_after=3)
    job = change(job_of(folder, tmp_path / "store"), folder)
    assert len(run(job)[0]) == kept
    run(replace(job, store=tmp_path / "fresh"))
    assert digest(tmp_path / "store") == digest(tmp_path / "fresh")
    assert rows(tmp_path / "store") == rows(tmp_path / "fresh")


def test_other_library_versions_keep_nothing(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job_of(videos, tmp_path), stop_after=2)
    monkeypatch.setattr("avstore.pipelines.build.shard_writer.metadata.version", lambda _: "0")
    assert run(job_of(videos, tmp_path))[0] == []


def test_a_clip_that_the_machine_killed_is_extracted_again(
    videos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Sandbox.extract

    def killed(self: Sandbox, source: ClipSource) -> ExtractionResult:
        result = real(self, source)
        if source.key != "c3":
            return result
        return replace(result, verdict=Verdict.MACHINE_KILLED, members=())

    with monkeypatch.context() as patch:
        patch.setattr(shard_jobs.Sandbox, "extract", killed)
        assert isinstance(build_shard(job_of(videos, tmp_path)), PostponedShard)
        assert count_kept(Store(tmp_path)) == (3, 1)
        run(replace(job_of(videos, tmp_path), alone=True), stop_after=2)
        assert count_kept(Store(tmp_path)) == (5, 1)  # c3 without members
    assert len(run(job_of(videos, tmp_path))[0]) == 3
    assert_finished(tmp_path, whole)


def test_a_full_disk_while_taking_over_leaves_the_old_partial(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(job_of(videos, tmp_path), stop_after=3)
    before = partial_of(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("avstore.pipelines.build.partial_tar.PartialTar._sync", full)
        with pytest.raises(OSError, match="No space"):
            run(job_of(videos, tmp_path))
    assert partial_of(tmp_path) == before
    assert len(run(job_of(videos, tmp_path))[0]) == 3


def test_at_most_sixteen_clips_are_not_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avstore.pipelines.build.partial_tar import open_partial

    synced: list[int] = []
    monkeypatch.setattr("os.fsync", synced.append)
    with open_partial(tmp_path / "x-000000.tar", {}) as partial:
        for number in range(1, 65):
            partial.tar.add(f"{number}.json", b"{}")
            partial.record({"clip_id": str(number)}, {})
            assert len(synced) == 2 * (number // 16)
        found = read_journal(partials_of(tmp_path / "x-000000.tar")[0])
    header, entries = found
    assert (header, len(entries)) == ({}, 64)
    assert entries[0].row == {"clip_id": "1"}
