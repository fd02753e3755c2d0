"""Continual audio-visual pre-training, from shards to a task × task matrix of scores.

    python train/run.py --shards data/shards [--config tiny] [--stream S] [--method finetune]

From top to bottom: configure, load the stream, train and evaluate (loop.py), report.
Several processes: torchrun --nproc-per-node N train/run.py …
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

# Threads that wait must not spin: on a busy machine that takes ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __package__ in (None, ""):  # run as a file: import the package from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback during the imports

import torch
from rich.console import Console

from avstore.manifests import terminal
from avstore.manifests.store import write_text
from avstore.train import dist
from avstore.train.arguments import (
    add_run_options,
    add_set_option,
    add_store_option,
    parse_args,
    sets_of,
)
from avstore.train.batch_show import run_record
from avstore.train.config import Config, config_names, load_config
from avstore.train.config_text import to_toml
from avstore.train.data import OpenStore, open_store
from avstore.train.errors import UserError, exit_code, make_folder
from avstore.train.evaluation.forgetting import gap_difference
from avstore.train.experiment import (
    build_stepper,
    check_options,
    check_split,
    finished,
    make_plan,
    pick_device,
    wanted_of,
    with_statistics,
)
from avstore.train.interrupts import SignalHandler
from avstore.train.loop import TrainingLoop
from avstore.train.methods import METHODS, find_method
from avstore.train.model_card import model_card
from avstore.train.objective import Objective
from avstore.train.results import matrix
from avstore.train.runs import RECORD
from avstore.train.task_matrix import report_matrix
from avstore.train.tasks import load_tasks, training_parts
from avstore.train.tracking import make_tracker


def parse(argv: list[str] | None, program: str | None = None) -> argparse.Namespace:
    """Parse the command line of a program, by default this file."""
    p = argparse.ArgumentParser(
        prog=program,
        description="Train a model on a stream of tasks and score it on all of them after each.",
        epilog="Example: python train/run.py --shards data/shards --method er --set epochs=20",
    )
    words = sys.argv if argv is None else argv
    add_store_option(p, required="--print-config" not in words)
    p.add_argument(
        "--config",
        "--recipe",
        default="tiny",
        help=f"{', '.join(config_names())}, or the path of a .toml (default: tiny)",
    )
    p.add_argument("--stream", help="task stream (default: the first whose tasks all have clips)")
    p.add_argument("--method", help=f"{', '.join(METHODS)}, or module:Class (default: config's)")
    p.add_argument("--init", help="weights to start from: a run's task-NN.pt, or released ones")
    p.add_argument("--seed", type=int, help="of weights, order and methods (default: config's)")
    add_set_option(p)
    p.add_argument(
        "--out", type=Path, help="folder (default: runs/<config>-<method>-<stream>-seed<seed>)"
    )
    add_run_options(p)
    return parse_args(p, argv)


def main(argv: list[str] | None = None, program: str | None = None) -> int:
    """Run the command and return its exit code, as `avstore.train.errors.exit_code` does."""
    args = parse(argv, program)
    console = terminal.console()
    try:
        return exit_code(
            lambda signals: train(args, console, signals),
            "the same command continues from the last checkpoint, or starts over without one",
        )
    finally:
        dist.stop()


def train(args: argparse.Namespace, console: Console, signals: SignalHandler) -> None:
    """Do the whole run: configure, load the stream, train and evaluate, report."""
    overrides = {"method": args.method, "stream": args.stream, "seed": args.seed, "init": args.init}
    config = load_config(args.config, overrides, sets_of(args))
    method_class = find_method(config.method)
    options = check_options(method_class, config)
    if args.print_config:
        print(to_toml(config.model_copy(update={"options": options})), end="")
        return
    store = open_store(args.shards)
    wanted = wanted_of(config)
    stream = load_tasks(store, config.stream, wanted)
    config = config.model_copy(update={"stream": stream.name, "options": options})
    config = with_statistics(config, store)
    name = f"{config.name}-{config.method.replace(':', '.')}-{stream.name}-seed{config.seed}"
    folder = args.out or Path("runs") / name
    if finished(folder, config, stream):
        console.print(f"{folder} is finished already; see {folder / 'results.json'}")
        return
    device = pick_device(args.device)
    dist.start(device.type)
    console.quiet = dist.rank() > 0
    make_folder(folder)
    samples, tasks = training_parts(
        store,
        stream,
        together=method_class.union_of_tasks,
        features=wanted.train_features,
        segments=wanted.train_segments,
        media=wanted.media,
        videos=config.data.shuffle == "videos",
    )
    check_split(config)
    check_selection(config, len(tasks))
    check_epochs(config, len(tasks))
    stepper = build_stepper(config, method_class, options, device, len(tasks[0]))
    check_loaded(config, stepper.method.objective)
    for clips in (samples, *(task.evaluation for task in stream.tasks)):
        stepper.method.objective.check(clips)
    plan = make_plan(config, stepper.method, samples, tasks)
    tracker = make_tracker(args.track, folder, name)
    loop = TrainingLoop(config, stream, plan, stepper, folder, tracker, signals)
    loop.restore(console, args.allow_changed_data)
    if dist.rank() == 0:
        content = run_record(config, plan, store.root)
        write_text(folder / RECORD, json.dumps(content, indent=2))
    parameters = sum(p.numel() for p in stepper.method.objective.parameters())
    console.print(
        f"{name}: {len(tasks)} task(s), {sum(map(len, tasks))} clips, "
        f"{parameters / 1e6:.1f} M parameters, {device}, {dist.world_size()} process(es)"
    )
    if stream.left_out:
        console.print(stream.left_out)
    if config.epochs:
        loop.run(console)
    else:
        loop.score_initial(console)
    if dist.rank() == 0:
        write_summary(config, loop, store, console)


def check_selection(config: Config, tasks: int) -> None:
    """Check that weights are selected in a run of one task only.

    Raises:
        UserError: The run has several tasks.
    """
    if tasks > 1 and (config.select == "best" or config.average):
        raise UserError(
            f"select = best and average report weights of a run of one task, and this has {tasks}; "
            "leave them out, or give --stream with a dataset's name for all of it in one task"
        )


def check_epochs(config: Config, tasks: int) -> None:
    """Check that there is something to score, in a run without training.

    Raises:
        UserError: There are no weights to score, or several tasks.
    """
    if not config.epochs and (config.init is None or tasks > 1):
        raise UserError(
            "epochs = 0 scores weights as they are, on a stream of one task; give them (--init "
            "FILE) and such a stream (--stream DATASET), or train (epochs = 1 or more)"
        )


def check_loaded(config: Config, objective: Objective) -> None:
    """Check that a run without training scores no part with initial weights.

    Raises:
        UserError: The file of `init` lacks parts.
    """
    if not config.epochs and objective.untrained:
        raise UserError(
            f"epochs = 0 scores weights as they are, and {config.init} has not these parts of the "
            f"model: {', '.join(objective.untrained)}; give a task-NN.pt of this config, or train "
            "(epochs = 1 or more)"
        )


def write_summary(config: Config, loop: TrainingLoop, store: OpenStore, console: Console) -> None:
    """Write card, table, plot, JSON and rows; results.json comes last and completes the run."""
    folder, rows, names = loop.folder, loop.rows, loop.stream.names
    measure = loop.measure
    model = loop.stepper.method.evaluated()
    parameters = sum(p.numel() for p in model.parameters())
    card = model_card(config, loop.stream, measure.summaries(rows, names), parameters)
    write_text(folder / "card.md", card)
    results: dict[str, Any] = {
        "fingerprint": config.fingerprint,
        "lists": loop.stream.fingerprints,
        "config": config.model_dump(mode="json"),
        "tasks": names,
        "chance_avg": measure.chance,
        "headline": list(measure.shown),
        "modality_gap_difference": gap_difference(matrix(rows, names, "modality_gap")),
        "torch": torch.__version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    report_matrix(folder, rows, names, measure, results, console)


if __name__ == "__main__":
    sys.exit(main())
