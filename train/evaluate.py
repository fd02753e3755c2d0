"""Finetune a pre-trained model for a downstream task and score it.

    python train/evaluate.py --shards data/shards --config classify --init runs/…/task-08.pt

With a run's folder as --init, classification is scored on all of its task-*.pt. Configs: classify
(VGGSound), ave (events by the second), avs (segmentation), retrieval (without training).
Training is one task of the loop of train/run.py.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __package__ in (None, ""):  # run as a file: import the package from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback during the imports

import torch
from rich.console import Console
from rich.table import Table

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
from avstore.train.checkpoint_scores import (
    CheckpointScores,
    finished_run,
    report_checkpoints,
    require_classification,
)
from avstore.train.config_text import to_toml
from avstore.train.data import OpenStore, open_store
from avstore.train.errors import UserError, exit_code, make_folder
from avstore.train.experiment import (
    check_split,
    finished,
    make_plan,
    pick_device,
    stepper_of,
    with_statistics,
)
from avstore.train.interrupts import SignalHandler
from avstore.train.loop import TrainingLoop
from avstore.train.methods.base import Options, Setup
from avstore.train.methods.finetune import Finetune
from avstore.train.model_card import model_card
from avstore.train.objective import Objective
from avstore.train.results import RESULTS, Row, final_scores, score_rows, write_results
from avstore.train.runs import RECORD
from avstore.train.scoring import Scoring
from avstore.train.step import seed_everything
from avstore.train.systems.cavmae.downstream import (
    TASKS,
    Downstream,
    DownstreamConfig,
    DownstreamData,
    data_of,
    load_downstream,
)
from avstore.train.systems.cavmae.downstream.config import downstream_names, init_path
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.weights import saved_shape
from avstore.train.tasks import Stream
from avstore.train.tracking import make_tracker


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(
        description="Finetune a pre-trained model for a downstream task and score it.",
        epilog="Example: python train/evaluate.py --shards data/shards --config classify "
        "--init runs/first/task-04.pt",
    )
    words = sys.argv if argv is None else argv
    add_store_option(p, required="--print-config" not in words)
    p.add_argument(
        "--config",
        "--recipe",
        required=True,
        help=f"{', '.join(downstream_names())}, or the path of a .toml",
    )
    p.add_argument(
        "--init",
        help="task-*.pt of a run, its folder for all of them (classification), or published "
        "weights (default: random weights)",
    )
    p.add_argument(
        "--stream",
        help="task stream (default: config's, else the first whose tasks all have clips)",
    )
    p.add_argument("--seed", type=int, help="of weights, order and crops (default: config's)")
    add_set_option(p)
    p.add_argument(
        "--out", type=Path, help="folder (default: runs/downstream/<config>-<stream>-seed<seed>)"
    )
    add_run_options(p)
    return parse_args(p, argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code, as `avstore.train.errors.exit_code` does."""
    args = parse(argv)
    try:
        return exit_code(
            lambda signals: evaluate(args, terminal.console(), signals),
            "the same command continues from the last checkpoint, or starts over without one",
        )
    finally:
        dist.stop()


def evaluate(args: argparse.Namespace, console: Console, signals: SignalHandler) -> None:
    """Do the whole run, from one file of weights or from each checkpoint of a training run."""
    init = init_path(args.config, args.init, args.set)
    if init and init.is_dir() and not args.print_config:
        evaluate_run(args, init, console, signals)
    else:
        evaluate_weights(args, console, signals)


def evaluate_run(
    args: argparse.Namespace, folder: Path, console: Console, signals: SignalHandler
) -> None:
    """Classify with the weights after each task of a run: the matrix, average and forgetting.

    Raises:
        UserError: The configuration does not classify, or the run has no task matrix.
    """
    trained = finished_run(folder, args.stream)
    require_classification(args.config, args.set, folder)
    name = f"{Path(args.config).stem}-{folder.resolve().name}"
    out = args.out or Path("runs/downstream") / name
    own = {
        "stream": trained.stream,
        "set": [text for text in args.set if text.partition("=")[0] != "init"],
    }
    scored = []
    for path in trained.checkpoints:
        place = {"init": str(path), "out": out / path.stem}
        evaluate_weights(argparse.Namespace(**{**vars(args), **own, **place}), console, signals)
        if dist.rank() == 0:
            scored.append(CheckpointScores.load(out / path.stem, trained.tasks))
    if dist.rank() == 0:
        report_checkpoints(out, trained, scored, console)


def evaluate_weights(args: argparse.Namespace, console: Console, signals: SignalHandler) -> None:
    """Configure, load the clips, train the head, score, report."""
    config = configure(args)
    if args.print_config:
        print(to_toml(config), end="")
        return
    store = open_store(args.shards)
    data = load_clips(config, store, args)
    config = with_statistics(config.model_copy(update={"stream": data.stream.name}), store)
    name = f"{config.name}-{data.stream.name}-seed{config.seed}"
    folder = args.out or Path("runs/downstream") / name
    if finished(folder, config, data.stream):
        console.print(f"{folder} is finished already; see {folder / RESULTS}")
        return
    device = pick_device(args.device)
    dist.start(device.type)
    console.quiet = dist.rank() > 0
    objective = build(config, data).to(device)
    make_folder(folder)
    scoring = Scoring(data.stream, config.data.workers, device)
    origin = config.init or "random weights (--init gives trained ones)"
    console.print(
        f"{name}: {len(data.train)} clips to train on, {scoring.clips} to score, from {origin}, "
        f"{device}, {dist.world_size()} process(es)"
    )
    if data.stream.left_out:
        console.print(data.stream.left_out)
    if isinstance(objective, Downstream) and objective.has_new_head and not config.epochs:
        raise UserError(
            "epochs = 0 scores a head that was never trained; train one (epochs = 15), or give "
            f"weights with a head for {config.task} on stream {data.stream.name!r}"
        )
    if isinstance(objective, Downstream) and config.epochs:
        loop = training_loop(args, objective, folder, device, signals)
        loop.restore(console, args.allow_changed_data)
        if dist.rank() == 0:
            write_text(folder / RECORD, json.dumps(run_record(config, loop.plan, store.root)))
        loop.run(console)
        rows = loop.rows
    else:
        every = len(data.stream.tasks)
        rows = score_rows(scoring.scores(objective, every, final=True), folder.name, None, 0)
    if dist.rank() == 0:
        parameters = sum(p.numel() for p in objective.parameters())
        card = model_card(config, data.stream, final_scores(rows)["all"], parameters)
        write_text(folder / "card.md", card)
        (headline,) = objective.measure(scoring.clips).shown[:1]
        report(config, headline, data.stream, rows, folder, console)


def configure(args: argparse.Namespace) -> DownstreamConfig:
    """Return the configuration, with the model's shape of the weights to start from."""
    sets = sets_of(args)
    init = init_path(args.config, args.init, sets)
    shape = saved_shape(init) if init and not init.is_dir() else None
    overrides = {"init": args.init, "stream": args.stream, "seed": args.seed}
    return load_downstream(args.config, overrides, sets, shape)


def load_clips(
    config: DownstreamConfig, store: OpenStore, args: argparse.Namespace
) -> DownstreamData:
    """Return the clips to train on and to score."""
    init = ("--init", args.init) if args.init else ()
    return data_of(config, store, ("--config", args.config, *init))


def build(config: DownstreamConfig, data: DownstreamData) -> Objective:
    """Return the task with its initial weights.

    Raises:
        UserError: The weights do not fit, or settings of the input exclude each other.
    """
    seed_everything(config.seed, 0)
    objective: Objective = TASKS[config.task](CAVMAE(config.model), config, data)
    if config.init:
        objective.load(Path(config.init))
    try:
        for training in (True, False):
            objective.spec(training=training)
    except ValueError as error:
        raise UserError(f"config {config.name!r}: {error}") from error
    return objective


def training_loop(
    args: argparse.Namespace,
    objective: Downstream,
    folder: Path,
    device: torch.device,
    signals: SignalHandler,
) -> TrainingLoop:
    """Return the loop that finetunes on the clips of all tasks as one task."""
    config, data = objective.config, objective.data
    check_split(config)
    setup = Setup(config.batch_size, dist.rank(), dist.world_size(), len(data.train))
    method = Finetune(objective, Options(), setup)
    plan = make_plan(config, method, data.train, data.parts)
    stepper = stepper_of(config, method, device)
    tracker = make_tracker(args.track, folder, folder.name)
    return TrainingLoop(config, data.stream, plan, stepper, folder, tracker, signals)


def report(
    config: DownstreamConfig,
    headline: str,
    stream: Stream,
    rows: list[Row],
    folder: Path,
    console: Console,
) -> None:
    """Write the final scores, of all clips and of each task, as table, rows and JSON."""
    by_task = final_scores(rows)
    scores = by_task.pop("all")
    summary = {
        "fingerprint": config.fingerprint,
        "lists": stream.fingerprints,
        "config": config.model_dump(mode="json"),
        "scores": scores,
        "by_task": by_task,
        "headline": headline,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_results(folder, rows, summary)
    table = Table(title=config.title or config.task, box=None)
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in scores.items():
        table.add_row(name, f"{value:.4f}" if name == "auc" else f"{value:.2f}")
    console.print(table)
    console.print(f"rows {folder / 'results.duckdb'}")


if __name__ == "__main__":
    sys.exit(main())
