"""Generate stores of synthetic clips with real members: JPEG frames, FLAC, fbank."""

import io
import json

import numpy as np
import simplejpeg

from avstore.manifests.catalogue import open_write
from avstore.manifests.ingest import commit_shards
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.pipelines.extract.audio import encode_flac
from tests.manifests import synthetic


def picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return a picture with edges and gradients, so that resizing changes it."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    blocks = coarse.repeat(height // 6 + 1, 0).repeat(width // 8 + 1, 1)[:height, :width]
    ramp = np.linspace(0, 60, width).astype(np.uint8)[None, :, None]
    return np.clip(blocks.astype(int) + ramp - 30, 0, 255).astype(np.uint8)


def wave(seed: int, seconds: float = 1.0, rate: int = 16000) -> np.ndarray:
    """Return int16 samples of a chord with noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220 + 10 * seed, 660, 2100))
    return (
        ((chord / 5 + rng.normal(0, 0.02, len(time))) * 20000).clip(-32768, 32767).astype(np.int16)
    )


def members_of(clip_id: str, frames: int = 4) -> list[tuple[str, bytes]]:
    """Return a clip's members, a function of its id; every fifth clip has taller frames."""
    number = int(clip_id.rsplit("k", 1)[1])
    height = 64 if number % 5 == 0 else 48
    fbank = np.random.default_rng(number).normal(-5, 4, (90, 128)).astype(np.float16)
    buffer = io.BytesIO()
    np.save(buffer, fbank)
    return [
        ("json", json.dumps({"clip_id": clip_id}).encode()),
        ("fbank.npy", buffer.getvalue()),
        ("flac", encode_flac(wave(number), 16000)),
        *(
            (f"f{i:03d}.jpg", simplejpeg.encode_jpeg(picture(10 * number + i, height), quality=90))
            for i in range(frames)
        ),
    ]


def add_clips(
    store: Store,
    count: int,
    run_id: str,
    labels: list[str] | None = None,
    fingerprint: str = synthetic.FINGERPRINT,
    size: int = 3,
) -> None:
    """Publish clips up to `count` in total, and build base shards of the new ones."""
    store.root.mkdir(exist_ok=True)
    rows = synthetic.clip_rows(count)
    if labels:
        rows = [row | {"labels": labels, "label_ids": list(range(len(labels)))} for row in rows]
    stage = f"toy-{fingerprint[:8]}"
    with writing(store), open_write(store) as writer:
        con = writer.con
        known = {row[0] for row in con.execute("SELECT clip_id FROM clips").fetchall()}
        synthetic.annotate(writer, store, rows)
        new = {row["clip_id"]: None for row in rows if row["clip_id"] not in known}
        if new:
            synthetic.fetch(writer, store, run_id, new)
        if not con.execute("SELECT 1 FROM stages WHERE stage = ?", [stage]).fetchall():
            con.execute("INSERT INTO stages VALUES (?, 'toy', 'toy', ?)", [stage, fingerprint])
            synthetic.refresh_status(con)
        for shard in synthetic.plan_shards(writer, store, run_id, size, stage):
            sidecar = synthetic.write_shard(store, shard, frozenset(), fingerprint)
            commit_shards(con, [sidecar])
        writer.publish()
