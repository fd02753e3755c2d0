"""The jobs as settings of avstore's loader."""

from collections.abc import Iterable
from pathlib import Path

from avstore.train.data import Batch, BatchSpec, Loader, open_store, sample_list
from benchmarks.peers.decoding import BATCH, JOBS


def ours(root: Path, name: str, workers: int, clips: int) -> Iterable[Batch]:
    """Return the loader of a job; one thread without workers, as the others."""
    job = JOBS[name]
    read = ["frames"] * bool(job.frames) + ["fbank"] * job.fbank + ["waveform"] * job.waveform
    choice = "all" if job.frames == 80 else "clip" if job.consecutive else "random"
    spec = BatchSpec(
        BATCH,
        read=tuple(read),
        frames=job.frames or 1,
        frame_choice=choice,
        image_size=None,
        pixels="uint8",
    )
    query = f"SELECT clip_id FROM samples ORDER BY shard, position LIMIT {clips}"
    return Loader(sample_list(open_store(root), query), spec, workers=workers, threads=1)
