"""Run commands on hostile files: in one line, with bounded memory, and nothing beside the store."""

import hashlib
import io
import shutil
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from avstore.manifests.store import Store
from avstore.pipelines.cli.app import main


@dataclass
class Done:
    """The end of a command: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def avstore(*words: object) -> Done:
    """Run the command line in this process; an exception is a traceback that a person would see."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["avstore", *map(str, words)]
    code: object = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = argv
    return Done(int(str(code or 0)), out.getvalue(), err.getvalue())


class Tree:
    """A store and, beside it, a victim that looks like a folder of shards.

    Attributes:
        store: The store.
        victim: The folder beside the store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.victim = store.root.parent / "victim"
        shard = store.sidecars()[0]
        # At the depths at which a linked `shards`, `shards/DATASET` or `…/STAGE` is searched.
        for folder in (self.victim / "a" / "b", self.victim / "a", self.victim):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(shard.with_suffix(".tar"), folder / "kept.tar")
            shutil.copy(shard, folder / "kept.parquet")
            shutil.copy(shard.with_suffix(".tar"), folder / "alone.tar")
            (folder / ".kept.tmp").write_text("temporary of another program")
        (self.victim / "secret.txt").write_text("confidential")
        self._before = self._state()

    def _state(self) -> dict[str, tuple[int, str]]:
        return {
            str(path): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(self.store.root.parent.rglob("*"))
            if path.is_file() and not path.is_relative_to(self.store.root)
        }

    def check(self) -> None:
        """Check that nothing outside of the store was written, moved, deleted or added."""
        assert self._state() == self._before


MAX_MEMORY = 64 << 20


def bounded(work: Callable[[], object], error: type[BaseException], match: str = "") -> str:
    """Run; check that it raises this error, in one line, without taking much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(error, match=match) as caught:
            work()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MAX_MEMORY
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 1000
    return str(caught.value)
