"""Measure UAVM's training on stored features, beside a straightforward form and the bare step.

    python -m benchmarks.train_step_uavm --size tiny --batch 144
    python -m benchmarks.train_step_uavm --size full --batch 144 --steps 4
    python -m benchmarks.train_step_uavm --size full --batch 144 --precision bf16   # GPU

Features are made up, in the shapes of UAVM's released ones: .npy files for the straightforward
form, and their import into a store for the trainer. Each form runs in a process of its own, in
turns; the bare step is the trainer's step on one batch that stays in memory.
"""

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console

from avstore.datasets.registry import get
from avstore.datasets.vggsound import vocabulary
from avstore.manifests.store import Store
from avstore.pipelines.interchange.feature_importer import FeatureImportOptions, import_feature
from avstore.train.config import Config, load_config
from avstore.train.data import Loader, open_store
from avstore.train.experiment import build_stepper, make_plan, wanted_of
from avstore.train.interrupts import SignalHandler
from avstore.train.loop import TrainingLoop
from avstore.train.methods import find_method
from avstore.train.progress import Display
from avstore.train.tasks import load_tasks, training_parts
from benchmarks.common import spread, table, write
from benchmarks.plain_uavm import AUDIO, VIDEO, plain_loader, train_plainly
from benchmarks.step_timing import (
    Stopwatch,
    add_options,
    apart,
    device_peak,
    loading_cpu,
    name_of,
)

WIDTH = 1024
FORMS = ("ours", "plain", "bare")
_FEATURES = {AUDIO: ("convnext-audio", np.float32), VIDEO: ("convnext-visual", np.float16)}
_FIRST = 2  # steps that are not measured
_LOADED = 5  # batches whose loading alone is measured


def main() -> None:
    """Measure the forms in turns, print a table and write the numbers."""
    args = parse()
    if args.work:
        form, folder = args.work.split(":", 1)
        print(json.dumps(measure(args, form, Path(folder))))
        return
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="train-step-uavm-") as name:
        make_features(Path(name), args.clips)
        module = "benchmarks.train_step_uavm"
        turns = [
            {form: apart(module, "--work", f"{form}:{name}") for form in FORMS}
            for _ in range(args.turns)
        ]
    report(args, turns)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_options(p, batch=144)
    p.add_argument("--clips", type=int, default=2000, help="clips to make (default: 2000)")
    p.add_argument("--turns", type=int, default=3, help="measurements of each (default: 3)")
    p.add_argument("--folder", type=Path, help="where to make them (default: a temporary one)")
    return p.parse_args()


def make_features(folder: Path, clips: int) -> None:
    """Write .npy files of random features and the list of their clips, and import them."""
    draw, labels = np.random.default_rng(0), [label.label for label in vocabulary()]
    for kind in _FEATURES:
        (folder / kind).mkdir()
    with (folder / "vggsound.csv").open("w") as listed:
        for number in range(clips):
            name, start = f"{number:011d}", number % 300
            split = "test" if number % 100 == 0 else "train"
            listed.write(f'{name},{start},"{labels[number % len(labels)]}",{split}\n')
            for kind, (_, dtype) in _FEATURES.items():
                value = draw.standard_normal((30, WIDTH), np.float32).astype(dtype)
                np.save(folder / kind / f"{name}_{start:06d}.npy", value)
    for kind, (feature, _) in _FEATURES.items():
        lists = (folder / "vggsound.csv",)
        options = FeatureImportOptions(feature, [str(folder / kind)], annotations=lists)
        import_feature(Store(folder / "store"), get("vggsound"), options)


def measure(args: argparse.Namespace, form: str, folder: Path) -> dict[str, Any]:
    """Return the time of a form's steps, the share waited for data, and device memory."""
    device, config = torch.device(args.device), configuration(args)
    if form == "plain":
        shape: Any = config.model
        watch = train_plainly(shape, folder, args.batch, _FIRST + args.steps, args.workers, device)
        loaded: Any = plain_loader(folder, args.batch, _LOADED + 1, 0, device)
    else:
        loop = training_loop(config, folder, device)
        watch = train(args, loop, bare=form == "bare")
        loaded = Loader(loop.plan, loop.stepper.method.objective.spec(training=True), threads=1)
    return {
        **watch.result(_FIRST - 1),
        **device_peak(device),
        "loading_cpu_s": loading_cpu(iter(loaded), _LOADED),
        "device": name_of(device),
    }


def configuration(args: argparse.Namespace) -> Config:
    """Return the config `uavm`, with the shape of `uavm_tiny` if the model is small."""
    sets = [f"batch_size={args.batch}", f"precision={args.precision}", "evaluate=task"]
    sets += [f"data.workers={args.workers}", "epochs=10000"]
    name = "uavm_tiny" if args.size == "tiny" else "uavm"
    return load_config(name, {"stream": "vggsound"}, sets)


def training_loop(config: Config, folder: Path, device: torch.device) -> TrainingLoop:
    """Return the loop that train/run.py makes for a config on the store's clips."""
    found = find_method(config.method)
    store, wanted = open_store(str(folder / "store")), wanted_of(config)
    stream = load_tasks(store, config.stream, wanted)
    samples, tasks = training_parts(store, stream, features=wanted.train_features)
    stepper = build_stepper(config, found, found.Options(), device, len(tasks[0]))
    plan = make_plan(config, stepper.method, samples, tasks)
    return TrainingLoop(config, stream, plan, stepper, folder, Stopwatch(), SignalHandler())


def train(args: argparse.Namespace, loop: TrainingLoop, bare: bool) -> Stopwatch:
    """Take the steps to measure: with the loader, or on one batch that stays in memory."""
    watch = cast("Stopwatch", loop.tracker)
    loaded = loop.batches()
    if bare:
        kept = next(loaded)
        for number in range(_FIRST + args.steps):
            watch.log(loop.stepper.step(kept, number), number)
        return watch
    display = Display(Console(quiet=True), loop.total, 0)
    loop.train_task(islice(watch.meter.timed(loaded), _FIRST + args.steps), display)
    return watch


def report(args: argparse.Namespace, turns: list[dict[str, dict[str, Any]]]) -> None:
    """Print a table and write the numbers."""
    rows, result = [], dict[str, Any](arguments={**vars(args), "folder": str(args.folder)})
    for form in FORMS:
        result[form] = found = {
            key: spread(turn[form][key] for turn in turns)
            for key, value in turns[0][form].items()
            if isinstance(value, float)
        }
        ratio = spread(turn["plain"]["step_s"] / turn[form]["step_s"] for turn in turns)
        found["ratio"] = ratio
        device = found["device_mb"]["median"] if "device_mb" in found else "–"
        speed = args.batch / found["step_s"]["median"]
        wait, host = found["wait_share"]["median"], found["host_mb"]["median"]
        loading = "–" if form == "bare" else 1000 * found["loading_cpu_s"]["median"]
        rows.append([form, speed, ratio["median"], wait, loading, host, device])
    name = turns[0]["ours"]["device"]
    table(
        f"UAVM {args.size}, batch {args.batch}, {args.precision}, {args.workers} worker(s), {name}",
        [*("form", "samples/s", "of the plain form", "data wait", "CPU ms to load a batch"),
         *("host MB", "device MB")],
        rows,
    )  # fmt: skip
    print(write(f"train_step_uavm-{args.size}-{torch.device(args.device).type}", result))


if __name__ == "__main__":
    main()
