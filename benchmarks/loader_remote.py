"""Measure raw samples from a real S3 server on this machine, with artificial latency."""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from avstore.train.data import open_store, raw_samples, sample_list

LATENCIES_S = (0.0, 0.02, 0.1)


def measure(store: Path) -> dict[str, float]:
    """Return the bandwidth at each latency, relative to whole shards without latency."""
    with serving_s3() as (address, latency):
        return _measure(store, {"client_kwargs": {"endpoint_url": address}}, latency)


@contextmanager
def serving_s3() -> Iterator[tuple[str, Any]]:
    """Run an S3 server; yield its address, and the seconds by which each answer is delayed."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "testing")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "testing")
    context = multiprocessing.get_context("spawn")
    latency = context.Value("d", 0.0)
    receive, send = context.Pipe(duplex=False)
    server = context.Process(target=_serve, args=(latency, send), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{receive.recv()}", latency
    finally:
        server.terminate()


def upload(store: Path, address: str, name: str = "store") -> str:
    """Copy what a remote store needs to the bucket of a server; return its URL."""
    fs = fsspec.filesystem("s3", client_kwargs={"endpoint_url": address})
    fs.mkdir("bucket")
    for folder in ("ledger", "shards"):
        fs.put(str(store / folder), f"bucket/{name}/{folder}", recursive=True)
    return f"s3://bucket/{name}"


def _serve(latency: Any, send: Any) -> None:
    """Serve S3 by moto, with each answer delayed by the latency."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *_: object) -> None:
            pass

    application = DomainDispatcherApplication(create_backend_app)

    def late(environ: Any, start_response: Any) -> Any:
        time.sleep(latency.value)
        return application(environ, start_response)

    server = make_server("127.0.0.1", 0, late, threaded=True, request_handler=Quiet)
    send.send(server.server_port)
    server.serve_forever()


def _measure(store: Path, options: dict[str, Any], latency: Any) -> dict[str, float]:
    url = upload(store, options["client_kwargs"]["endpoint_url"])
    fs = fsspec.filesystem("s3", **options)
    shards = [path for path in fs.find("bucket/store/shards") if path.endswith(".tar")]
    size = sum(fs.size(path) for path in shards)
    with tempfile.TemporaryDirectory() as cache:
        opened = open_store(url, cache=Path(cache), **options)
        samples = sample_list(opened, "SELECT clip_id FROM samples")

        def whole() -> float:
            start = time.perf_counter()
            for path in shards:
                fs.cat_file(path)
            return time.perf_counter() - start

        def ours() -> float:
            start = time.perf_counter()
            for _ in raw_samples(samples):
                pass
            return time.perf_counter() - start

        found = {}
        whole()
        plain = statistics.median(whole() for _ in range(3))
        found["remote: whole shards without latency, MB/s"] = size / plain / 1e6
        for wait in LATENCIES_S:
            latency.value = wait
            taken = statistics.median(ours() for _ in range(3))
            latency.value = 0.0
            name = f"remote: bandwidth at {wait * 1000:.0f} ms / of whole shards (target 0.8)"
            found[name] = plain / taken
        return found
