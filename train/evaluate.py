"""Finetune a pre-trained model for a downstream task and score it.

    python train/evaluate.py --shards data/shards --config classify --init runs/…/task-08.pt

With a run's folder as --init, classification is scored on all of its task-*.pt. Configs: classify
(VGGSound), ave (events by the second), avs (segmentation), retrieval (without training). One
process, one device.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __package__ in (None, ""):  # run as a file: import the package from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback during the imports

import torch
from rich.console import Console
from rich.table import Table

from avstore.manifests import terminal
from avstore.manifests.foreign_files import load_tensors
from avstore.train import checkpoint
from avstore.train.arguments import add_set_option, add_store_option, parse_args
from avstore.train.averaging import WeightAverage
from avstore.train.checkpoint_scores import (
    CheckpointScores,
    finished_run,
    report_checkpoints,
    require_classification,
)
from avstore.train.data import open_store, steps_per_epoch
from avstore.train.errors import UserError, exit_code, make_folder
from avstore.train.experiment import pick_device
from avstore.train.interrupts import SignalHandler
from avstore.train.optim import Progress, make_optimizer, set_lr
from avstore.train.progress import Display, say
from avstore.train.results import Row, write_results
from avstore.train.step import DTYPES, seed_everything
from avstore.train.systems.cavmae.downstream import (
    TASKS,
    Downstream,
    DownstreamConfig,
    load_downstream,
)
from avstore.train.systems.cavmae.downstream.base import DownstreamData
from avstore.train.systems.cavmae.downstream.config import downstream_names, init_path
from avstore.train.systems.cavmae.layout import layout
from avstore.train.systems.cavmae.model import CAVMAE
from avstore.train.systems.cavmae.weights import saved_shape
from avstore.train.tasks import clips_by_task, load_tasks, role_clips


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(
        description="Finetune a pre-trained model for a downstream task and score it.",
        epilog="Example: python train/evaluate.py --shards data/shards --config classify "
        "--init runs/first/task-04.pt",
    )
    add_store_option(p)
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
    p.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda if available, else cpu)")
    return parse_args(p, argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code, as `avstore.train.errors.exit_code` does."""
    args = parse(argv)
    return exit_code(
        lambda signals: evaluate(args, terminal.console(), signals),
        "the same command continues from the last complete epoch",
    )


def evaluate(args: argparse.Namespace, console: Console, signals: SignalHandler) -> None:
    """Do the whole run, from one file of weights or from each checkpoint of a training run."""
    init = init_path(args.config, args.init, args.set)
    if init and init.is_dir():
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
        scored.append(CheckpointScores.load(out / path.stem, trained.tasks))
    report_checkpoints(out, trained, scored, console)


def evaluate_weights(args: argparse.Namespace, console: Console, signals: SignalHandler) -> None:
    """Configure, train the head, score, report."""
    init = init_path(args.config, args.init, args.set)
    shape = saved_shape(init) if init else None
    overrides = {"init": args.init, "stream": args.stream, "seed": args.seed}
    config = load_downstream(args.config, overrides, args.set, shape)
    store = open_store(args.shards)
    stream = load_tasks(store, config.stream).name
    task = TASKS[config.task]
    clips = DownstreamData(
        store,
        role_clips(store, stream, ("train",), task.segments),
        role_clips(store, stream, task.roles, task.segments, config.labels),
        clips_by_task(store, stream, task.roles),
    )
    device = pick_device(args.device)
    seed_everything(config.seed, 0)
    downstream = task(CAVMAE(config.model), config, clips)
    if init:
        downstream.load_initial(init)
    downstream.to(device)
    name = f"{config.name}-{stream}-seed{config.seed}"
    run = DownstreamRun(config, downstream, args.out or Path("runs/downstream") / name, device)
    origin = str(init) if init else "random weights (--init gives trained ones)"
    console.print(
        f"{name}: {len(clips.train)} clips to train on, {len(clips.evaluation)} to score, "
        f"from {origin}, {device}"
    )
    run.run(console, signals)


class DownstreamRun:
    """Epochs of training and scoring, with a checkpoint after each.

    Attributes:
        config: The configuration.
        task: Backbone, head, loss and scores.
        folder: Where results go.
        device: Where to train.
        rows: Results so far.
        epoch: Epochs done.
        best: Score and weights of the best epoch so far, if `select` is "best".
        average: Average of the weights of the epochs of `average`, None without.
        optimizer: Over the trained parameters, None if there are none.
        lists: Fingerprints of the clips.
    """

    def __init__(
        self, config: DownstreamConfig, task: Downstream, folder: Path, device: torch.device
    ) -> None:
        self.config, self.task, self.folder, self.device = config, task, folder, device
        self.rows: list[Row] = []
        self.epoch = 0
        self.best: tuple[float, dict[str, Any]] | None = None
        self.average = WeightAverage(*config.average) if config.average else None
        trained = any(p.requires_grad for p in task.parameters())
        own = layout(config.model)
        self.optimizer = make_optimizer(task, config.optim, own) if trained else None
        clips = task.clips
        self.lists = [clips.train.fingerprint, clips.evaluation.fingerprint]

    def run(self, console: Console, signals: SignalHandler) -> None:
        """Train the remaining epochs, score, and write the results."""
        done = self.folder / "results.json"
        if done.is_file():
            self._require_same(json.loads(done.read_text()))
            console.print(f"{self.folder} is finished already; see {done}")
            return
        make_folder(self.folder)
        self.restore(console)
        spec = self.task.spec(random=True)
        per_epoch = steps_per_epoch(self.task.clips.train, spec)
        total = per_epoch * self.config.epochs
        display = Display(console, total, per_epoch * self.epoch)
        with display.shown(True):
            while self.optimizer is not None and self.epoch < self.config.epochs:
                self.train_epoch(self.optimizer, display, per_epoch, total)
                self.score_epoch(console)
                with signals.deferred():
                    self.save(self.optimizer)
        self.load_selected()
        self.task.eval()
        scores = self.task.scores(final=True)
        with signals.deferred():
            self.report(scores, console)

    def train_epoch(
        self, optimizer: torch.optim.Optimizer, display: Display, per_epoch: int, total: int
    ) -> None:
        """Train one epoch of `per_epoch` steps; the run has `total` steps."""
        c = self.config
        dtype = DTYPES[c.precision]
        batches = self.task.batches(self.task.spec(random=True), self.task.clips.train, self.epoch)
        for step, batch in enumerate(display.meter.timed(batches)):
            number = self.epoch * per_epoch + step
            seed_everything(c.seed, 1 + number)
            set_lr(optimizer, c.optim, Progress(number, total, per_epoch))
            self.task.train()
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                loss = self.task.loss(batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            self.rows.append(self.row("loss", float(loss.detach()), number + 1))
            display.step(f"epoch {self.epoch + 1}/{c.epochs}", float(loss.detach()), len(batch))

    def score_epoch(self, console: Console) -> None:
        """Score after an epoch, and keep the weights of the best one if `select` is "best"."""
        self.task.eval()
        scores = self.task.scores(final=False)["all"]
        self.epoch += 1
        self.rows += [self.row(name, value, self.epoch, "epoch") for name, value in scores.items()]
        listing = ", ".join(f"{name} {value:.2f}" for name, value in scores.items())
        say(console, f"after epoch {self.epoch}: {listing}")
        score = scores.get(self.task.headline, 0.0)
        if self.config.select == "best" and (self.best is None or score > self.best[0]):
            self.best = (score, {k: v.clone() for k, v in self.trained_state().items()})
        if self.average is not None:
            self.average.add(self.epoch, self.trained_state())

    def load_selected(self) -> None:
        """Load the weights to report: the average, the best epoch's, or those of the last one."""
        if self.average is not None and self.average.count:
            self.task.load_state_dict(self.average.mean(), strict=False)
        elif self.config.select == "best" and self.best is not None:
            self.task.load_state_dict(self.best[1], strict=False)

    def trained_state(self) -> dict[str, torch.Tensor]:
        """Return the state of the head, and of the backbone if it is trained."""
        state = self.task.state_dict()
        if self.config.frozen:
            return {name: x for name, x in state.items() if not name.startswith("model.")}
        return state

    def row(self, metric: str, value: float, step: int, task: str | None = None) -> Row:
        """Return one row of the results; scores have the task "epoch" or "final"."""
        return {
            "run": self.folder.name,
            "trained": self.config.task,
            "task": task,
            "step": step,
            "metric": metric,
            "value": value,
        }

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must have in common with this run."""
        return {"fingerprint": self.config.fingerprint, "lists": self.lists}

    def save(self, optimizer: torch.optim.Optimizer) -> None:
        """Save a checkpoint of everything that the next epoch depends on."""
        state = {
            **self.identity(),
            "config": self.config.model_dump(mode="json"),
            "epoch": self.epoch,
            "state": self.trained_state(),
            "optimizer": optimizer.state_dict(),
            "best": list(self.best) if self.best else None,
            "average": self.average.state_dict() if self.average else None,
            "rows": self.rows,
        }
        checkpoint.save_tensors(self.folder / "latest.pt", state)

    def restore(self, console: Console) -> None:
        """Continue from the last complete epoch, if there is a checkpoint.

        Raises:
            UserError: The checkpoint has other settings or other clips.
        """
        path = self.folder / "latest.pt"
        if not path.is_file() or self.optimizer is None:
            return
        state = load_tensors(path)
        self._require_same(state)
        self.task.load_state_dict(state["state"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.rows = state["epoch"], state["rows"]
        self.best = (state["best"][0], state["best"][1]) if state["best"] else None
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        say(console, f"continuing {self.folder} after epoch {self.epoch}")

    def _require_same(self, recorded: dict[str, Any]) -> None:
        if recorded["fingerprint"] != self.config.fingerprint:
            raise self.config.other_settings(self.folder, recorded)
        if recorded["lists"] != self.lists:
            raise UserError(f"{self.folder} holds a run on other clips; give another --out")

    def report(self, by_task: dict[str, dict[str, float]], console: Console) -> None:
        """Write the final scores, of each task if it has any, as table, rows and JSON."""
        scores = by_task.pop("all")
        self.rows += [self.row(name, value, self.epoch, "final") for name, value in scores.items()]
        summary = {
            **self.identity(),
            "config": self.config.model_dump(mode="json"),
            "scores": scores,
            "by_task": by_task,
            "headline": self.task.headline,
        }
        checkpoint.save_tensors(self.folder / "head.pt", {"state": self.trained_state()})
        write_results(self.folder, self.rows, summary)
        table = Table(title=f"{self.config.title or self.config.task}", box=None)
        table.add_column("score")
        table.add_column("value", justify="right")
        for name, value in scores.items():
            table.add_row(name, f"{value:.4f}" if name == "auc" else f"{value:.2f}")
        console.print(table)
        console.print(f"rows {self.folder / 'results.duckdb'}, head {self.folder / 'head.pt'}")


if __name__ == "__main__":
    sys.exit(main())
