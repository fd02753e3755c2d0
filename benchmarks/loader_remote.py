"""Measure raw samples from a real S3 server on this machine, with artificial latency."""

import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import fsspec

from avstore.train.data import open_store, raw_samples, sample_list

LATENCIES_S = (0.0, 0.02, 0.1)


def measure(store: Path) -> dict[str, float]:
    """Return the bandwidth at each latency, relative to whole shards without latency."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "testing")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "testing")
    context = multiprocessing.get_context("spawn")
    latency = context.Value("d", 0.0)
    receive, send = context.Pipe(duplex=False)
    server = context.Process(target=_serve, args=(latency, send), daemon=True)
    server.start()
    options = {"client_kwargs": {"endpoint_url": f"http://127.0.0.1:{receive.recv()}"}}
    try:
        return _measure(store, options, latency)
    finally:
        server.terminate()


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
    fs = fsspec.filesystem("s3", **options)
    fs.mkdir("bucket")
    for folder in ("ledger", "shards"):
        fs.put(str(store / folder), f"bucket/store/{folder}", recursive=True)
    shards = [path for path in fs.find("bucket/store/shards") if path.endswith(".tar")]
    size = sum(fs.size(path) for path in shards)
    with tempfile.TemporaryDirectory() as cache:
        opened = open_store("s3://bucket/store", cache=Path(cache), **options)
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
