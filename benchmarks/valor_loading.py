"""Measure epochs of VALOR's inputs from the store, beside one .npy a video and feature.

    python -m benchmarks.valor_loading --clips 10000

Features are made up, in the shapes of the released ones: .npy files that a map-style dataset opens
in `__getitem__`, and their import into a store. Both are read in batches of 64 by as many worker
processes, in turns, without a model; files are in the page cache where memory allows. The store's
loader passes a plan of all epochs once, as the trainer does; a DataLoader starts its workers again
for each epoch, as the published loop does.
"""

import argparse
import csv
import tempfile
from collections import deque
from collections.abc import Sized
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avstore.datasets.llp import vocabulary
from avstore.datasets.registry import get
from avstore.manifests.store import Store
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature
from avstore.train.config import load_config
from avstore.train.data import Loader, compile_plan, open_store
from avstore.train.data.plan import PlanSpec
from avstore.train.experiment import batch_spec
from benchmarks.common import seconds, spread, table, write

BATCH = 64
SHAPES: dict[str, tuple[tuple[int, int], Any]] = {
    "vggish": ((10, 128), np.float32),
    "resnet152": ((80, 2048), np.float32),
    "r2plus1d18": ((10, 512), np.float32),
    "valor-clap-labels": ((10, 25), np.int64),
    "valor-clip-labels": ((10, 25), np.int64),
}


def main() -> None:
    """Measure both in turns, print a table and write the numbers."""
    args = parse()
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="valor-loading-") as name:
        folder = Path(name)
        make_features(folder, args.clips)
        found: dict[str, list[float]] = {"store": [], "files": []}
        for turn in range(args.turns):
            ours = from_store(folder, args.workers, turn, args.epochs)
            plain = from_files(folder, args.workers)
            repeated = chain.from_iterable(repeat(plain, args.epochs))
            clips = args.clips * args.epochs
            found["store"].append(clips / seconds(partial(deque, ours, 0)))
            found["files"].append(clips / seconds(partial(deque, repeated, 0)))
    report(args, found)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--clips", type=int, default=2000, help="clips to make (default: 2000)")
    p.add_argument("--turns", type=int, default=3, help="measurements of each (default: 3)")
    p.add_argument("--epochs", type=int, default=5, help="epochs of a measurement (default: 5)")
    p.add_argument("--workers", type=int, default=2, help="loader processes (default: 2)")
    p.add_argument("--folder", type=Path, help="where to make them (default: a temporary one)")
    return p.parse_args()


def make_features(folder: Path, clips: int) -> None:
    """Write .npy files of random features and the list of their clips, and import them."""
    draw, labels = np.random.default_rng(0), [label.label for label in vocabulary()]
    for feature in SHAPES:
        (folder / feature).mkdir()
    with (folder / "AVVP_train.csv").open("w") as listed:
        listed.write("filename\tevent_labels\n")
        for number in range(clips):
            name = f"{number:011d}_0_10"
            listed.write(f"{name}\t{labels[number % len(labels)]}\n")
            for feature, (shape, dtype) in SHAPES.items():
                value = draw.standard_normal(shape, np.float32)
                own = np.zeros(shape, dtype) if dtype == np.int64 else value
                np.save(folder / feature / f"{name}.npy", own)
    for feature in SHAPES:
        lists = (folder / "AVVP_train.csv",)
        options = FeatureImportOptions(feature, [str(folder / feature)], annotations=lists)
        import_feature(Store(folder / "data"), get("llp"), options)


def from_store(folder: Path, workers: int, seed: int, epochs: int) -> Loader:
    """Return the trainer's loader of some epochs."""
    spec = batch_spec(load_config("valor", {}, []), training=True)
    plan = compile_plan(
        open_store(str(folder / "data")),
        {"llp": "SELECT clip_id FROM stored_clips WHERE split = 'train'"},
        PlanSpec(batch_size=BATCH, epochs=epochs),
        seed=seed,
        features=spec.features,
    )
    return Loader(plan, spec, workers=workers)


def from_files(folder: Path, workers: int) -> "DataLoader[dict[str, Tensor]]":
    """Return a stock loader of one epoch."""
    return DataLoader(PlainVideos(folder), BATCH, shuffle=True, num_workers=workers)


class PlainVideos(Dataset[dict[str, Tensor]], Sized):
    """Videos as features, pseudo labels and weak labels, each feature a file.

    Args:
        folder: Holds AVVP_train.csv and a folder of .npy files for each feature.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = {label.label: label.label_id for label in vocabulary()}
        with (folder / "AVVP_train.csv").open() as listed:
            self.rows = list(csv.DictReader(listed, delimiter="\t"))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        row = self.rows[number]
        found = {
            feature: torch.from_numpy(np.load(self.folder / feature / f"{row['filename']}.npy"))
            for feature in SHAPES
        }
        target = torch.zeros(len(self.index))
        target[[self.index[label] for label in row["event_labels"].split(",")]] = 1
        return {**found, "labels": target}


def report(args: argparse.Namespace, found: dict[str, list[float]]) -> None:
    """Print the rates and their ratio, and write them."""
    ratios = [own / other for own, other in zip(found["store"], found["files"], strict=True)]
    rows = {**found, "ratio": ratios}
    table(
        f"{args.epochs} epochs of {args.clips} clips, {args.workers} workers: clips a second",
        ("form", "median", "least", "most"),
        [(name, *spread(values).values()) for name, values in rows.items()],
    )
    write("valor_loading", {"clips": args.clips, "workers": args.workers, **rows})


if __name__ == "__main__":
    main()
