"""Stores elsewhere: a real S3 server, a file system that breaks, and the cache of blocks."""

import itertools
import multiprocessing
import random
import resource
import shutil
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from avstore.manifests.block_cache import BLOCK_BYTES, BlockCache
from avstore.manifests.remote_reader import PART_BYTES, RemoteReader, merged
from avstore.manifests.shard_reader import Span
from avstore.manifests.store import StoreError, file_sha256
from avstore.train.data import (
    BadSampleError,
    BatchSpec,
    Loader,
    open_store,
    raw_samples,
    sample_list,
)
from avstore.train.data.samples import Shard

SPEC = BatchSpec(batch_size=4, frames=2, image_size=24, fbank_frames=48)


class Flaky(LocalFileSystem):
    """Local files that come torn, late or not at all, now and then."""

    protocol = "flaky"
    cachable = False
    share = 0.0
    flips = 0  # answers that still come with a flipped bit in each of their bytes
    denied = False
    requests = 0
    bytes = 0

    def cat_file(self, path, start=None, end=None, **kwargs):
        content = super().cat_file(self._strip_protocol(path), start, end, **kwargs)
        Flaky.requests += 1
        Flaky.bytes += len(content)
        if random.random() < Flaky.share:
            if random.random() < 0.5:
                raise ConnectionResetError("reset by the test")
            return content[:-1]
        if Flaky.flips:
            Flaky.flips -= 1
            return bytes(byte ^ 1 for byte in content)
        return content

    def get_file(self, *args, **kwargs):
        if Flaky.denied:
            raise PermissionError("Access\nDenied")  # as s3fs says it: without a file
        return super().get_file(*args, **kwargs)

    @classmethod
    def _strip_protocol(cls, path):
        return LocalFileSystem._strip_protocol(str(path).replace("flaky://", "file://"))


fsspec.register_implementation("flaky", Flaky, clobber=True)


@pytest.fixture(autouse=True)
def _steady():
    Flaky.share, Flaky.requests, Flaky.bytes = 0.0, 0, 0
    Flaky.flips, Flaky.denied = 0, False
    random.seed(1)


def elsewhere(toy_store, tmp_path, **options):
    return open_store(f"flaky://{toy_store.root}", cache=tmp_path / "cache", **options)


def same_batches(store, local, **options):
    samples = sample_list(store, "SELECT clip_id FROM clips")
    for ours, theirs in zip(Loader(samples, SPEC, **options), Loader(local, SPEC), strict=True):
        assert ours.clip_ids == theirs.clip_ids
        assert torch.equal(ours.video, theirs.video)
        assert torch.equal(ours.audio, theirs.audio)
    return samples


def test_the_same_batches_come_from_s3(toy_store, toy_list, tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    server_module = pytest.importorskip("moto.server")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        options = {"client_kwargs": {"endpoint_url": f"http://{host}:{port}"}}
        fs = fsspec.filesystem("s3", **options)
        bucket = f"loader-{uuid.uuid4().hex[:8]}"  # the server's state is the process's
        fs.mkdir(bucket)
        fs.put(str(toy_store.root), f"{bucket}/store", recursive=True)
        store = open_store(
            f"s3://{bucket}/store", cache=tmp_path / "cache", cache_bytes=64 << 20, **options
        )
        same_batches(store, toy_list)
        same_batches(store, toy_list, workers=2)
    finally:
        server.stop()


def test_breaks_are_tried_again_and_change_nothing(toy_store, toy_list, tmp_path):
    Flaky.share = 0.2
    same_batches(elsewhere(toy_store, tmp_path), toy_list)


def test_what_never_comes_is_said(toy_store, tmp_path, monkeypatch):
    monkeypatch.setattr("avstore.manifests.remote_reader.ATTEMPTS", 2)
    store = elsewhere(toy_store, tmp_path)
    samples = sample_list(store, "SELECT clip_id FROM clips")
    Flaky.share = 1.0
    with pytest.raises(BadSampleError, match="could not be read in 2 attempts"):
        list(Loader(samples, SPEC))


def test_a_vanished_object_is_said(toy_store, tmp_path):
    root = shutil.copytree(toy_store.root, tmp_path / "moved")
    store = open_store(f"flaky://{root}", cache=tmp_path / "cache")
    samples = sample_list(store, "SELECT clip_id FROM clips")
    shutil.rmtree(root / "shards")
    with pytest.raises(BadSampleError, match="does not exist"):
        list(Loader(samples, SPEC))
    with pytest.raises(StoreError, match="does not exist"):
        list(raw_samples(samples))


def test_near_ranges_become_one_request(toy_store, toy_list, tmp_path):
    store = elsewhere(toy_store, tmp_path)
    Flaky.requests = 0
    same_batches(store, toy_list)
    # 23 samples of three members each; a shard is smaller than the gap that is read along.
    assert Flaky.requests <= 6 * 5 + 2


def test_raw_samples_are_the_members_from_here_and_there(toy_store, toy_list, tmp_path):
    there = sample_list(elsewhere(toy_store, tmp_path), "SELECT clip_id FROM clips")
    local = {s.clip_id: {n: bytes(c) for n, c in m.items()} for s, m in raw_samples(toy_list)}
    remote = {s.clip_id: {n: bytes(c) for n, c in m.items()} for s, m in raw_samples(there)}
    assert local == remote
    assert len(local) == 23
    (some,) = {s.clip_id for s, _ in raw_samples(toy_list, [4])}
    assert some == toy_list.clip_ids[4]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_range_of_any_object_is_right(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("objects")
    size = data.draw(st.sampled_from([1, 100, BLOCK_BYTES + 5, PART_BYTES * 2 + 77]))
    content = random.Random(size).randbytes(size)
    (folder / "a.tar").write_bytes(content)
    shard = Shard("a.tar", f"{size:064d}", size)
    cache = BlockCache(folder, 3 << 20) if data.draw(st.booleans()) else None
    reader = RemoteReader(f"flaky://{folder}", {}, cache)
    ranges = data.draw(
        st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size)), max_size=6)
    )
    spans = [Span(shard, a, min(size, a + b)) for a, b in ranges]
    with reader.prefetching(spans if data.draw(st.booleans()) else []):
        for span in spans:
            found = reader.read(shard, span.start, span.stop - span.start)
            assert bytes(found) == content[span.start : span.stop]
    reader.close()


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(1, 90)), max_size=20), st.integers(0, 40)
)
def test_merged_spans_cover_what_was_asked_for_and_lie_apart(pairs, gap):
    shard = Shard("a", "", 0)
    spans = [Span(shard, a, a + b) for a, b in pairs]
    found = merged(spans, gap)
    for span in spans:
        assert sum(f.start <= span.start and span.stop <= f.stop for f in found) == 1
    assert all(b.start - a.stop > gap for a, b in itertools.pairwise(found))


def test_a_second_epoch_comes_from_the_cache_and_survives_its_loss(toy_store, toy_list, tmp_path):
    store = elsewhere(toy_store, tmp_path, cache_bytes=64 << 20)
    Flaky.requests = 0
    same_batches(store, toy_list)
    first = Flaky.requests
    assert first > 0
    same_batches(store, toy_list)
    assert Flaky.requests <= first + 2  # what was read ahead may have come late
    for number, path in enumerate(sorted((tmp_path / "cache/blocks").rglob("*-*"))):
        if number % 2:
            path.unlink()
        else:
            path.write_bytes(b"torn")
    same_batches(store, toy_list)
    assert first + 2 < Flaky.requests <= 2 * first + 4
    shutil.rmtree(tmp_path / "cache/blocks")
    same_batches(store, toy_list)


def test_wrong_blocks_of_the_cache_are_fetched_anew(toy_store, toy_list, tmp_path):
    """Of the right length, so that only what is in them tells."""
    store = elsewhere(toy_store, tmp_path, cache_bytes=64 << 20)
    same_batches(store, toy_list)
    for path in (tmp_path / "cache/blocks").rglob("*-*"):
        path.write_bytes(bytes(path.stat().st_size))
    same_batches(store, toy_list)
    before = Flaky.requests
    same_batches(store, toy_list)
    assert Flaky.requests <= before + 2


@pytest.mark.parametrize("cache_bytes", [0, 64 << 20])
def test_a_damaged_answer_is_fetched_once_more(toy_store, toy_list, tmp_path, cache_bytes):
    store = elsewhere(toy_store, tmp_path, cache_bytes=cache_bytes)
    Flaky.flips = 3
    same_batches(store, toy_list)
    assert not Flaky.flips
    assert_undamaged(toy_store, tmp_path)


def test_no_damaged_block_survives_in_the_cache(toy_store, toy_list, tmp_path):
    store = elsewhere(toy_store, tmp_path, cache_bytes=64 << 20)
    samples = sample_list(store, "SELECT clip_id FROM clips")
    Flaky.flips = 1 << 30
    for read in ("frames", "fbank"):
        with pytest.raises(BadSampleError):
            list(Loader(samples, BatchSpec(4, frames=2, image_size=24, read=(read,))))
    Flaky.flips = 0
    same_batches(store, toy_list)
    assert_undamaged(toy_store, tmp_path)


def assert_undamaged(toy_store, tmp_path):
    """The blocks of the cache are those of the shards, each with its checksum after it."""
    shards = {file_sha256(path): path for path in toy_store.root.rglob("*.tar")}
    for path in (tmp_path / "cache/blocks").rglob("*-*"):
        content = shards[path.name.split("-")[0]].read_bytes()
        assert path.read_bytes()[:-4] == content[:BLOCK_BYTES]


def test_a_denied_mirror_is_said_in_one_line(toy_store, tmp_path):
    Flaky.denied = True
    with pytest.raises(StoreError, match="cannot be read: Access Denied; check the addr") as error:
        elsewhere(toy_store, tmp_path)
    assert "\n" not in str(error.value)


def test_a_full_mirror_is_said_in_one_line(toy_store, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StoreError, match="cannot hold the mirrored manifest: ") as error:
            elsewhere(toy_store, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(error.value)


def test_a_cache_that_cannot_be_a_folder_is_said(toy_store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another cache folder"):
        open_store(f"flaky://{toy_store.root}", cache=tmp_path / "file")
    with pytest.raises(ValueError, match="cache_bytes is a whole number of bytes, not '5GB'"):
        elsewhere(toy_store, tmp_path, cache_bytes="5GB")


def test_threads_that_want_the_same_blocks_fetch_them_once(tmp_path):
    content = random.Random(0).randbytes(4 * BLOCK_BYTES)
    cache = BlockCache(tmp_path, 64 << 20)
    asked = []

    def fetch(a, b):
        asked.append((a, b))
        time.sleep(0.05)
        return content[a:b]

    def read(first):
        stop = min(first + 2 * BLOCK_BYTES, len(content))
        return cache.read("a" * 64, len(content), first, stop, fetch) == content[first:stop]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, [n * BLOCK_BYTES // 2 for n in range(7)]))
    assert sum(b - a for a, b in asked) == len(content)


def test_a_fetch_that_fails_fails_for_all_who_wait_and_is_tried_anew(tmp_path):
    cache = BlockCache(tmp_path, 64 << 20)
    broken = threading.Barrier(2)

    def fails(_a, _b):
        broken.wait()
        time.sleep(0.1)
        raise ConnectionResetError

    def read(fetch):
        return cache.read("a" * 64, 10, 0, 10, fetch)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(read, fails)
        broken.wait()
        second = pool.submit(read, fails)
        for found in (first, second):
            with pytest.raises(ConnectionResetError):
                found.result()
    assert read(lambda a, b: bytes(b - a)) == bytes(10)


def fill(folder: Path, seed: int) -> int:
    """One process of several that share a cache: every block is right, whoever wrote it."""
    cache = BlockCache(folder, 6 * BLOCK_BYTES)
    chance = random.Random(seed)
    wrong = 0
    for _ in range(60):
        number = chance.randrange(12)
        content = bytes([number]) * (BLOCK_BYTES // 8)
        name = f"{number:064d}"
        found = cache.read(name, len(content), 0, len(content), lambda a, b, c=content: c[a:b])
        wrong += found != content
    return wrong


def test_processes_share_a_cache_that_is_deleted_under_them(tmp_path):
    context = multiprocessing.get_context("spawn")
    stop = threading.Event()

    def vandal():
        while not stop.wait(0.05):
            shutil.rmtree(tmp_path / "blocks", ignore_errors=True)

    thread = threading.Thread(target=vandal)
    thread.start()
    try:
        with context.Pool(3) as pool:
            assert pool.starmap(fill, [(tmp_path, seed) for seed in range(3)]) == [0, 0, 0]
    finally:
        stop.set()
        thread.join()


def test_the_cache_stays_within_its_limit_and_keeps_what_is_used(tmp_path):
    limit = 8 * BLOCK_BYTES
    cache = BlockCache(tmp_path, limit)
    content = bytes(BLOCK_BYTES)
    asked = []

    def fetch(a, b):
        asked.append((a, b))
        return content[a:b]

    for number in range(30):
        cache.read(f"{number:064d}", BLOCK_BYTES, 0, BLOCK_BYTES, fetch)
        cache.read(f"{0:064d}", BLOCK_BYTES, 0, BLOCK_BYTES, fetch)
        held = sum(p.stat().st_size for p in (tmp_path / "blocks").rglob("*-*"))
        assert held <= limit
    assert len(asked) == 30  # the one in use was fetched once
