"""Stores of made-up panoramas with ambisonic sound: a bright square that a tone comes from."""

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avstore.manifests.catalogue import open_write
from avstore.manifests.ingest import commit_shards
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.manifests.video_record import StoredVideo
from avstore.pipelines.build.shard_writer import ShardId, open_shard
from avstore.pipelines.extract.audio import encode_flac
from avstore.pipelines.extract.records import ExtractionResult, Quality
from tests.manifests import synthetic
from tests.manifests.test_video_groups import encode

WIDTH, HEIGHT = 96, 48
PICTURES, RATE, HERTZ = 32, 16.0, 24_000


def panorama(number: int) -> tuple[list[tuple[NDArray[np.uint8], ...]], NDArray[np.int16]]:
    """Return the planes of the pictures (Y, U, V), and the sound W, Y, Z, X [4, n]."""
    x = number * 0.37 % 1
    luma = np.full((HEIGHT, WIDTH), 60, np.uint8)
    columns = (int(x * WIDTH) + np.arange(-6, 7)) % WIDTH
    luma[16:32, columns] = 120 + 20 * (number % 6)
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    moving = [(np.roll(luma, i, 1), chroma, chroma) for i in range(PICTURES)]
    seconds = np.arange(int(PICTURES / RATE * HERTZ)) / HERTZ
    tone = 0.2 * np.sin(2 * math.pi * 300 * 1.3 ** (number % 6) * seconds)
    azimuth = (1 - 2 * x) * math.pi
    sound = np.stack([tone, tone * math.sin(azimuth), 0 * tone, tone * math.cos(azimuth)])
    noise = np.random.default_rng(number).normal(0, 1e-3, sound.shape)
    return moving, (32767 * (sound + noise)).astype(np.int16)


def extracted(number: int, key: str) -> ExtractionResult:
    """Return the extracted clip."""
    planes, sound = panorama(number)
    encoded = encode("h264", planes, 8, crf=20)
    video = StoredVideo(PICTURES, RATE, 8, encoded.gop_offsets, encoded.gop_crc32, "h264")
    members = (("flac", encode_flac(sound, HERTZ)), ("mp4", encoded.content))
    return ExtractionResult(f"toy/{key}", None, "", None, Quality(), members, (), video=video)


def made_up_store(
    folder: Path, clips: int = 16, clips_per_video: int = 2, unstored: Collection[int] = ()
) -> Path:
    """Write a store of the dataset `toy`: every fourth clip is for tests; some are not stored."""
    store = Store(folder / "store")
    store.root.mkdir()
    rows = synthetic.clip_rows(clips)
    for number, row in enumerate(rows):
        row["source_id"] = f"v{number // clips_per_video}"
    with writing(store), open_write(store) as writer:
        synthetic.annotate(writer, store, rows)
        shards = []
        for number, split in enumerate(("train", "test")):
            path = f"shards/toy/{synthetic.STAGE}/{split}-000000.tar"
            shard = ShardId(path, "toy", "toy", synthetic.FINGERPRINT, split, number + 1)
            with open_shard(store, shard) as opened:
                for n, row in enumerate(rows):
                    if row["split"] == split and n not in unstored:
                        opened.add(extracted(n, row["key"]), key=row["key"], facts={}, media={})
            shards.append(store.root / opened.result.sidecar)
        commit_shards(writer.con, shards)
        writer.publish()
    return store.root
