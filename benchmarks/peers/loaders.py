"""Loaders of others over the same clips, each as its own pages advise."""

import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.peers.decoding import BATCH, FRAMES, Clip, Job, decode

warnings.filterwarnings("ignore")
Batches = Iterable[Any]
Make = Callable[[list[Clip], Path, Job, int], Batches]


def _options(workers: int, **more: Any) -> dict[str, Any]:
    """Return a DataLoader's options; workers live on between epochs."""
    return {"batch_size": BATCH, "num_workers": workers, "persistent_workers": workers > 0, **more}


class _Offsets(Dataset[Any]):
    """The clips by byte range: what one writes by hand."""

    def __init__(self, clips: list[Clip], job: Job) -> None:
        self.clips, self.job = clips, job
        self.files: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        clip = self.clips[row]
        if clip.shard not in self.files:
            self.files[clip.shard] = os.open(clip.shard, os.O_RDONLY)
        file = self.files[clip.shard]

        def fetch(suffix: str) -> bytes:
            at, size = clip.places[suffix]
            return os.pread(file, size, at)

        return decode(self.job, fetch)


def stock(clips: list[Clip], folder: Path, job: Job, workers: int) -> Batches:
    return DataLoader(_Offsets(clips, job), shuffle=True, **_options(workers))


def webdataset(clips: list[Clip], folder: Path, job: Job, workers: int) -> Batches:
    import webdataset as wds

    shards = sorted({clip.shard for clip in clips})
    stream = wds.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(100)
    batches = stream.map(_Picked(job)).batched(BATCH, collation_fn=wds.filters.default_collation_fn)
    return wds.WebLoader(batches, **_options(workers, batch_size=None))


class _Picked:
    """Decode a sample that maps members to bytes."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, sample: dict[str, Any]) -> dict[str, torch.Tensor]:
        return decode(self.job, sample.__getitem__)


def litdata(clips: list[Clip], folder: Path, job: Job, workers: int) -> Batches:
    import litdata as ld  # pyright: ignore[reportMissingImports]

    if not folder.is_dir():
        ld.optimize(Clip.members, clips, str(folder), chunk_bytes="64MB", num_workers=1)
    data = ld.StreamingDataset(str(folder), shuffle=True, transform=_Picked(job))
    return ld.StreamingDataLoader(data, **_options(workers))


def mosaicml(clips: list[Clip], folder: Path, job: Job, workers: int) -> Batches:
    from streaming import MDSWriter, StreamingDataset  # pyright: ignore[reportMissingImports]

    if not folder.is_dir():
        columns = dict.fromkeys(clips[0].places, "bytes")
        with MDSWriter(out=str(folder), columns=columns) as writer:
            for clip in clips:
                writer.write(clip.members())

    class Decoded(StreamingDataset):
        def __getitem__(self, row: int) -> Any:
            return decode(job, super().__getitem__(row).__getitem__)

    data = Decoded(local=str(folder), shuffle=True, batch_size=BATCH)
    return DataLoader(data, **_options(workers))


class _LanceRows(Dataset[Any]):
    """A table of clips and one of frames, so that a take reads what the job needs."""

    def __init__(self, folder: Path, clips: int, job: Job) -> None:
        self.folder, self.clips, self.job = folder, clips, job
        self.tables: Any = None

    def __len__(self) -> int:
        return self.clips

    def __getitems__(self, rows: list[int]) -> list[dict[str, torch.Tensor]]:
        import lance  # pyright: ignore[reportMissingImports]

        if self.tables is None:
            self.tables = [lance.dataset(self.folder / name) for name in ("clips", "frames")]
        names = [self.job.suffixes() for _ in rows]
        columns = [name for name in _COLUMNS if _COLUMNS[name] in names[0]]
        table = self.tables[0].take(rows, columns=columns) if columns else None
        values = table.to_pylist() if table is not None else [{} for _ in rows]
        wanted = [
            row * FRAMES + int(name[1:4])
            for row, own in zip(rows, names, strict=True)
            for name in own
            if name.endswith("jpg")
        ]
        table = self.tables[1].take(wanted, columns=["jpg"]) if wanted else None
        jpegs = iter(table["jpg"].to_pylist() if table is not None else ())

        def sample(own: dict[str, bytes]) -> dict[str, torch.Tensor]:
            named = {_COLUMNS[column]: value for column, value in own.items()}
            return decode(self.job, lambda name: named.get(name) or next(jpegs))

        return [sample(own) for own in values]


# Lance's columns have no dot in their names.
_COLUMNS = {"fbank": "fbank.npy", "flac": "flac"}


def lance(clips: list[Clip], folder: Path, job: Job, workers: int) -> Batches:
    import lance as library  # pyright: ignore[reportMissingImports]
    import pyarrow as pa

    if not folder.is_dir():
        jpegs = [f"f{number:03d}.jpg" for number in range(FRAMES)]
        for name, columns in (("clips", list(_COLUMNS)), ("frames", ["jpg"])):
            schema = pa.schema([(column, pa.binary()) for column in columns])

            def rows(frames: bool = name == "frames", schema: Any = schema) -> Iterator[Any]:
                for clip in clips:
                    own = clip.members()
                    kept = {column: own[member] for column, member in _COLUMNS.items()}
                    found = [{"jpg": own[jpg]} for jpg in jpegs] if frames else [kept]
                    yield pa.RecordBatch.from_pylist(found, schema)

            reader = pa.RecordBatchReader.from_batches(schema, rows())
            library.write_dataset(reader, folder / name, schema)
    context = "spawn" if workers else None  # its threads do not survive a fork
    options = _options(workers, multiprocessing_context=context)
    return DataLoader(_LanceRows(folder, len(clips), job), shuffle=True, **options)


class _ArrowRows(Dataset[Any]):
    """Rows of a memory-mapped table, without copies of what the job does not need."""

    def __init__(self, folder: Path, job: Job) -> None:
        import datasets

        self.rows, self.job = datasets.load_from_disk(str(folder)).with_format("arrow"), job

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        values = self.rows[row]
        return decode(self.job, lambda name: memoryview(values[name][0].as_buffer()).cast("B"))


def _members(clips: list[Clip]) -> Iterator[dict[str, bytes]]:
    return (clip.members() for clip in clips)


def huggingface(clips: list[Clip], folder: Path, job: Job, workers: int) -> Batches:
    import datasets

    datasets.disable_progress_bars()
    if not folder.is_dir():
        features = datasets.Features({name: datasets.Value("binary") for name in clips[0].places})
        made = datasets.Dataset.from_generator(
            _members, features=features, gen_kwargs={"clips": clips}, writer_batch_size=50
        )
        made.save_to_disk(str(folder))
        shutil.rmtree(Path(made.cache_files[0]["filename"]).parent, ignore_errors=True)
    return DataLoader(_ArrowRows(folder, job), shuffle=True, **_options(workers))


def spdl(clips: list[Clip], folder: Path, job: Job, workers: int) -> Batches:
    """Return batches that threads make: `workers` of them, at least one."""
    from spdl.pipeline import PipelineBuilder  # pyright: ignore[reportMissingImports]

    threads, offsets = max(workers, 1), _Offsets(clips, job)

    class Epochs:
        def __iter__(self) -> Iterator[Any]:
            source = torch.randperm(len(clips)).tolist()
            builder = PipelineBuilder().add_source(source)
            builder = builder.pipe(offsets.__getitem__, concurrency=threads).aggregate(BATCH)
            builder = builder.pipe(torch.utils.data.default_collate).add_sink(3)
            pipeline = builder.build(num_threads=threads)
            with pipeline.auto_stop():
                yield from pipeline

    return Epochs()


PEERS: dict[str, Make] = {
    "stock DataLoader": stock,
    "webdataset": webdataset,
    "LitData": litdata,
    "MosaicML streaming": mosaicml,
    "Lance": lance,
    "HF datasets": huggingface,
    "SPDL": spdl,
}
