"""Test who may connect to the cluster of a build, and what happens when a cluster is lost."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from avstore.pipelines.build.cluster import check_scheduler, completed, connect
from avstore.pipelines.fetch.source import MachineError
from tests.media import make_clip

CLIPS = 8
PAGES = ("/", "/status", "/health", "/metrics", "/json/counts.json", "/info/main/workers.html")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write eight clips and their CSV."""
    folder = tmp_path_factory.mktemp("corpus")
    names = [f"id_{index:08d}" for index in range(CLIPS)]
    make_clip(folder / "videos" / f"{names[0]}_000030.mp4")
    for name in names[1:]:
        copy = folder / "videos" / f"{name}_000030.mp4"
        copy.write_bytes((folder / "videos" / f"{names[0]}_000030.mp4").read_bytes())
    rows = "".join(f"{name},30,dog barking,train\n" for name in names)
    (folder / "vggsound.csv").write_text(rows)
    return folder


def start_build(corpus: Path, store: Path, *more: str) -> subprocess.Popen[str]:
    """Start a build with one clip a shard."""
    command = [
        *(sys.executable, "-m", "avstore", "build", "vggsound", "--store", str(store)),
        *("--source", str(corpus / "videos"), "--annotations", str(corpus / "vggsound.csv")),
        *("--shard-clips", "1", *more),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def listeners(pid: int) -> Iterator[tuple[str, int]]:
    """Yield the TCP addresses on which a process and its children listen."""
    process = psutil.Process(pid)
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):
            for connection in each.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    yield connection.laddr


def answer(address: tuple[str, int], sent: bytes = b"") -> bytes:
    """Return what a client without TLS receives."""
    with suppress(ConnectionError, TimeoutError), socket.create_connection(address, 2) as client:
        client.settimeout(2 if sent else 0.2)
        client.sendall(sent)
        return client.recv(4096)
    return b""


def answer_without_certificate(address: tuple[str, int]) -> bytes:
    """Return what a TLS client without a certificate receives."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with suppress(OSError), socket.create_connection(address, 2) as plain:
        plain.settimeout(2)
        with context.wrap_socket(plain) as client:
            return client.recv(4096)
    return b""


def check_listener(address: tuple[str, int]) -> None:
    """Check that a stranger learns nothing from a listening socket."""
    assert address[0] == "127.0.0.1"
    assert answer(address) == b"", "a scheduler or worker without TLS greets its clients"
    assert answer_without_certificate(address) == b""
    for page in PAGES:
        received = answer(address, f"GET {page} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        status = received.split(b"\r\n")[0]
        assert status in (b"", b"HTTP/1.1 404 Not Found") or status[:1] == b"\x15", received


@pytest.mark.slow
def test_no_socket_of_a_running_build_answers_a_stranger(corpus: Path, tmp_path: Path) -> None:
    build = start_build(corpus, tmp_path / "store", "--workers", "2")
    seen: set[tuple[str, int]] = set()
    while build.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for address in set(listeners(build.pid)) - seen:
                check_listener(address)
                seen.add(address)
        time.sleep(0.02)
    assert build.returncode == 0, build.communicate()
    # The scheduler, a nanny and a worker for each of two, and three HTTP servers without pages.
    assert len(seen) >= 5


def test_a_client_without_the_clusters_key_cannot_connect() -> None:
    import dask
    from distributed import Client
    from distributed.security import Security

    with connect(None, 1) as client:
        address = client.scheduler.address
        (worker,) = client.scheduler_info()["workers"]
        assert client.submit(pow, 2, 5).result() == 32
        with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
            for strange in (address, worker):
                with pytest.raises(OSError, match=r"reset|connect|TLS certificate does not match"):
                    Client(strange.replace("tls:", "tcp:"), timeout="2s")
                with pytest.raises(OSError, match=r"reset|connect|TLS certificate does not match"):
                    Client(strange, timeout="2s", security=Security.temporary())


@contextmanager
def dask_cluster(folder: Path | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start `dask scheduler` and one `dask worker`; yield the address and the scheduler.

    They run in `folder`, or in the current one.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    port = address.rpartition(":")[2]
    scheduler = start_dask("scheduler", "--host", "127.0.0.1", "--port", port, cwd=folder)
    worker = start_dask("worker", address, "--nthreads", "1", "--death-timeout", "60", cwd=folder)
    try:
        with connect(address, None) as client:
            client.wait_for_workers(1, timeout=60)
        yield address, scheduler
    finally:
        for process in (worker, scheduler):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def start_dask(kind: str, *words: str, cwd: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
    command += ["--dashboard-address", "127.0.0.1:0", "--no-dashboard"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, cwd=cwd, start_new_session=True)


def wait_for(pattern: str, count: int, store: Path, build: subprocess.Popen[str]) -> None:
    """Wait until the store has this many files."""
    while len(list(store.glob(pattern))) < count:
        assert build.poll() is None, build.communicate()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("shards", [0, 3])
def test_a_lost_scheduler_is_one_line_and_the_next_run_completes(
    corpus: Path, tmp_path: Path, shards: int
) -> None:
    store = tmp_path / "store"
    with dask_cluster() as (address, scheduler):
        build = start_build(corpus, store, "--scheduler", address)
        wait_for(
            "shards/*/*/*.tar" if shards else "shards/*/*/.*.rows.partial",
            shards or 1,
            store,
            build,
        )
        scheduler.kill()
        out, err = build.communicate(timeout=120)
    assert build.returncode == 4, (out, err)
    lines = [line for line in err.splitlines() if line.startswith("avstore: ")]
    assert len(lines) == 1, err
    assert f"scheduler at {address}" in lines[0]
    assert "Traceback" not in err
    others = [line for line in err.splitlines() if not line.startswith(("fetch:", "extract:"))]
    assert others == lines
    finish(corpus, store)


def finish(corpus: Path, store: Path) -> None:
    """Run the build again on this machine; all shards are there and match."""
    again = start_build(corpus, store, "--workers", "1")
    out, err = again.communicate(timeout=200)
    assert again.returncode == 0, (out, err)
    assert len(list(store.glob("shards/*/*/*.tar"))) == CLIPS
    assert not [*store.rglob("*.tmp"), *store.rglob("*.partial")]
    command = [sys.executable, "-m", "avstore", "verify", "--store", str(store)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:9", "tcp://nowhere.invalid:8786", "nonsense", "foo://bar", "tls://[::1]:9"],
)
def test_a_wrong_address_is_reported_before_anything_is_fetched(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr("avstore.pipelines.build.cluster._CONNECT_TIMEOUT_S", 1)
    with pytest.raises(MachineError, match="no Dask scheduler answers"):
        check_scheduler(address)
    if address == "nonsense":
        build = start_build(corpus, tmp_path / "store", "--scheduler", address)
        _, err = build.communicate()
        assert build.returncode == 4
        assert err.count("\n") == 1
        assert not (tmp_path / "store").exists()


def test_another_server_at_the_address_is_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avstore.pipelines.build.cluster._CONNECT_TIMEOUT_S", 1)
    server = socket.create_server(("127.0.0.1", 0))  # it accepts, and says nothing
    with server, pytest.raises(MachineError, match="no Dask scheduler answers"):
        check_scheduler(f"tcp://127.0.0.1:{server.getsockname()[1]}")
    with connect(None, 1) as client, pytest.raises(MachineError, match="no Dask scheduler"):
        check_scheduler(client.scheduler.address.replace("tls:", "tcp:"))


def die(_job: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_whose_workers_all_die_is_one_line() -> None:
    with pytest.raises(MachineError, match="died 4 times"), connect(None, 1) as client:
        list(completed(client, lambda job: client.submit(die, job, key="shard-x"), [0]))


def test_a_lost_local_scheduler_is_one_line() -> None:
    def lose() -> None:
        with connect(None, 1) as client:
            jobs = completed(client, lambda s: client.submit(time.sleep, s, pure=False), [0, 60])
            next(jobs)
            client.cluster.sync(client.cluster.scheduler.close)
            next(jobs)

    with pytest.raises(MachineError, match="of this build was lost"):
        lose()


START = """
import multiprocessing, sys
from avstore.pipelines.build.cluster import connect
from avstore.pipelines.fetch.source import MachineError

if __name__ == "__main__":
    multiprocessing.set_executable(sys.argv[1])
    try:
        with connect(None, 1):
            pass
    except MachineError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("mode", "reason"), [(0o644, "may not execute"), (0o755, "cannot import distributed: no such")]
)
def test_workers_that_do_not_start_are_explained(mode: int, reason: str, tmp_path: Path) -> None:
    interpreter, script = tmp_path / "python", tmp_path / "start.py"
    interpreter.write_text("#!/bin/sh\necho no such library >&2\nexit 3\n")
    interpreter.chmod(mode)
    script.write_text(START)
    command = [sys.executable, str(script), str(interpreter)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    (line,) = done.stdout.splitlines()
    assert line.startswith("the local cluster does not start: ")
    assert reason in line
    assert str(interpreter) in line
