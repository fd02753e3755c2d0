"""The write lock with real processes: its holder is named, waited for, and may be killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import StoreBusyError, writing
from avstore.manifests.store import Store
from tests.manifests import synthetic

HOLD = """
import sys, time
from pathlib import Path
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
with writing(Store(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
READ = """
import sys, time
from pathlib import Path
from avstore.manifests.catalogue import open_read
from avstore.manifests.store import Store
store, end, seen = Store(Path(sys.argv[1])), time.time() + 240, set()
while time.time() < end and len(seen) < 3:
    with open_read(store) as con:
        shards, clips, samples = con.execute(
            "SELECT (SELECT count(*) FROM shards), (SELECT sum(clips) FROM shards), "
            "(SELECT count(*) FROM samples)").fetchall()[0]
    assert clips == samples, (clips, samples)
    seen.add(shards)
print(len(seen))
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def hold(store: Store, seconds: float) -> subprocess.Popen:
    process = start(HOLD, store.root, seconds)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_says_who_holds_it_and_leaves(store: Store) -> None:
    process = hold(store, 60)
    try:
        with (
            pytest.raises(StoreBusyError, match=rf"process {process.pid} on .*, since 20\d\d-"),
            writing(store),
        ):
            pass
    finally:
        process.kill()
        process.wait()


def test_the_second_waits_as_asked(store: Store) -> None:
    process = hold(store, 1)
    with writing(store, wait_s=30):
        assert process.wait(5) == 0


def test_the_lock_of_a_killed_process_does_not_hold(store: Store) -> None:
    process = hold(store, 60)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with writing(store):
        pass


def test_many_readers_during_a_build_meet_no_lock_and_no_half_shard(
    store: Store, tmp_path: Path
) -> None:
    readers = [start(READ, store.root) for _ in range(3)]
    with writing(store), open_write(store) as writer:
        number = 0
        while any(reader.poll() is None for reader in readers):
            synthetic.annotate(writer, store, synthetic.clip_rows(20 + 4 * number + 4))
            late = {f"toy/k{20 + 4 * number + i:05d}": None for i in range(4)}
            synthetic.fetch(writer, store, f"w{number}", late)
            synthetic.build(writer, store, f"w{number}", size=2)
            writer.publish()
            number += 1
    outputs = [reader.communicate(timeout=300)[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0, 0]
    assert [int(output) for output in outputs] == [3, 3, 3]
    with duckdb.connect(str(store.manifest), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM samples").fetchall() == [(16 + 4 * number,)]
