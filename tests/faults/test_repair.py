"""Test that a store with any file lost or damaged becomes whole by the commands' own advice.

Each case damages one file, runs the command that a user may run first, and then exactly the
commands that are printed, until `verify` finds nothing. Two cases of each kind of file are run;
AVSTORE_REPAIR=all runs every damage of every kind, with every first command.
"""

import contextlib
import io
import itertools
import os
import re
import shlex
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avstore.manifests.path_text import text_path
from avstore.pipelines.build import shard_jobs
from avstore.pipelines.cli import app
from avstore.pipelines.extract.clip import extract_clip
from tests.media import make_clip
from tests.pipelines.cli.test_build import shard_hashes

pytestmark = pytest.mark.slow
FEATURE = "tests.pipelines.features.toy:MeanColour"
ADVICE = re.compile(
    r"(?:^  |run: )(\S*\bavstore (?:verify|index|build|features|exchange|report) .+)$"
)
KINDS = {
    "shard": "shards/*/*/train-000000.tar",
    "sidecar": "shards/*/*/train-000000.parquet",
    "companion": "shards/*/*/train-000000.mean-colour-*.tar",
    "companion sidecar": "shards/*/*/train-000000.mean-colour-*.parquet",
    "attempts": "ledger/attempts-*.parquet",
    "runs": "ledger/runs-*.parquet",
    "plans": "ledger/plans-*.parquet",
    "tasks": "ledger/tasks.parquet",
    "stages": "ledger/stages.parquet",
    "features": "ledger/features.parquet",
    "annotation facts": "ledger/annotations/*/facts.json",
    "annotations": "ledger/annotations/*/*/clips.parquet",
    "manifest": "manifest.duckdb",
    "manifest hash": "manifest.duckdb.sha256",
    "working copy": ".manifest.work.duckdb",
    "report": "reports/*.html",
    "snapshot": "snapshots/*.duckdb",
    "snapshot facts": "snapshots/*.json",
    "state": "state/*.json",
    "lock": ".lock",
    "lock holder": ".lock.holder",
    "media": "raw/*/*.mp4",
}


def delete(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE = [delete, truncate, corrupt, empty, replace_by_folder]
FIRST = ["verify", "index", "status", "build"]
EVERY_CASE = os.environ.get("AVSTORE_REPAIR") == "all"


def _two_of(place: int) -> list[tuple[Callable[[Path], None], str]]:
    """Return two of the cases of a kind, others for each place, so that all are met."""
    return [
        (DAMAGE[(place + 2 * turn) % len(DAMAGE)], FIRST[(place + turn) % len(FIRST)])
        for turn in range(2)
    ]


class _InProcess:
    """Extract in this process, as the sandbox's worker does."""

    def __init__(self, recipe) -> None:
        self.recipe = recipe

    def __enter__(self) -> "_InProcess":
        return self

    def __exit__(self, *_) -> None:
        pass

    def extract(self, source):
        return extract_clip(source, self.recipe)


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    from distributed import LocalCluster

    with (
        pytest.MonkeyPatch.context() as patch,
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
    ):
        patch.setattr(shard_jobs, "Sandbox", _InProcess)
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def run(scheduler: str) -> Callable[[str], tuple[int, str]]:
    def run(line: str) -> tuple[int, str]:
        words = shlex.split(line)
        if "build" in words[:3]:
            words += ["--scheduler", scheduler]
        said, code = io.StringIO(), 0
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            patch.setattr(sys, "argv", words)
            try:
                app.main()
            except SystemExit as end:
                code = int(end.code or 0)
        return code, said.getvalue()

    return run


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a store with every kind of file, and the command that built it."""
    folder = tmp_path_factory.mktemp("whole")
    keys = [f"-id_000000{n}_000030" for n in range(4)]
    with zipfile.ZipFile(folder / "videos.zip", "w") as archive:
        for number, key in enumerate(keys):
            clip = make_clip(folder / f"{key}.mp4", tone_hz=300 + 90 * number, seed=number)
            archive.write(clip, f"videos/{key}.mp4")
    (folder / "vggsound.csv").write_text(
        "".join(f"{key[:11]},30,dog barking,train\n" for key in keys)
    )
    build = (
        f"avstore build vggsound --source {folder}/videos.zip "
        f"--annotations {folder}/vggsound.csv --shard-clips 2"
    )
    store = folder / "store"
    for command in (build, f"avstore features build {FEATURE}", "avstore snapshot create first"):
        code, said = run(f"{command} --store {store}")
        assert code == 0, said
    (store / "state").mkdir()
    for name in ("state/fetch-s3.json", ".manifest.work.duckdb"):
        (store / name).write_text("{}")
    return store, build


def follow(run, first: str, verify: str) -> list[str]:
    """Run a command and what it advises until `verify` passes; return what was run and said."""
    story: list[str] = []
    queue = [first]
    for _ in range(12):
        command = queue.pop(0) if queue else verify
        code, said = run(command)
        story += [f"$ {command}", said.strip(), f"exit {code}"]
        if command == verify and code == 0:
            return story
        found = [m[1] for line in said.splitlines() if (m := ADVICE.search(line))]
        queue = [*found, *(x for x in queue if x not in found)]
    raise AssertionError("\n".join(story))


CASES = [
    (kind, damage, first)
    for (place, kind), damage, first in itertools.product(enumerate(KINDS), DAMAGE, FIRST)
    if EVERY_CASE or (damage, first) in _two_of(place)
]


@pytest.mark.parametrize(
    ("kind", "damage", "first"), CASES, ids=[f"{k}-{d.__name__}-{f}" for k, d, f in CASES]
)
def test_advice_makes_a_damaged_store_whole(
    kind: str, damage, first: str, whole: tuple[Path, str], run, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(whole[0], store)
    before = shard_hashes(store)
    if kind == "lock holder":
        (store / ".lock.holder").write_text("{}")
    paths = sorted(store.glob(KINDS[kind]))
    assert paths
    damage(paths[0])
    command = whole[1] if first == "build" else f"avstore {first}"
    story = follow(run, f"{command} --store {store}", f"avstore verify --store {store}")
    assert shard_hashes(store) == before, "\n".join(story)
    assert "Traceback" not in "\n".join(story)


def test_the_recorded_command_is_the_one_that_was_given(whole: tuple[Path, str], run) -> None:
    from avstore.manifests.catalogue import open_read
    from avstore.manifests.commands import quote
    from avstore.manifests.store import Store

    with open_read(Store(whole[0])) as con:
        rows = con.execute("SELECT config->>'arguments' FROM runs WHERE command LIKE 'build %'")
        ((words,),) = rows.fetchall()
    given = shlex.split(whole[1])[1:]
    assert set(given) <= set(eval(words))
    assert quote(text_path(r"caf\xe9 x")) == r"$'caf\xe9 x'"
