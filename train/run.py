"""Continual pre-training over a store: `python train/run.py --shards data/shards`.

Reads from top to bottom: options, the tasks of a stream in order, one optimizer for all of them
(sequential finetuning), and after each task the retrieval score on every task.
"""

import hashlib
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

if __package__ in (None, ""):  # run as a script: the packages lie one folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from manifests.store import StoreError
from train import checkpoint, outcome
from train.config import TrainConfig, load_config
from train.data import Batch, BatchSpec, batches, open_store, steps_per_epoch
from train.evaluate import chance, retrieval
from train.models.cavmae import CAVMAE
from train.tasks import TaskData, load_stream

_SAVE_EVERY_S = 60.0


@dataclass
class Position:
    """Where a run is: task, epoch, step in the epoch, and the matrix so far."""

    task: int = 0
    epoch: int = 0
    step: int = 0
    matrix: list[list[float]] = field(default_factory=list)
    untrained: list[float] = field(default_factory=list)


@dataclass
class Trainer:
    """A run's parts: what is trained, on what, and where its files go."""

    config: TrainConfig
    tasks: list[TaskData]
    device: torch.device
    seed: int
    out: Path
    fingerprint: str
    console: Console

    def __post_init__(self) -> None:
        checkpoint.seed_all(self.seed)
        self.model = CAVMAE(self.config.model).to(self.device)
        c = self.config
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        plain = {n for n, p in named if p.ndim < 2 or self.model.undecayed(n)}
        groups = [
            {"params": [p for n, p in named if n not in plain], "weight_decay": c.weight_decay},
            {"params": [p for n, p in named if n in plain], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.Adam(groups, lr=c.lr, betas=c.betas)
        self.at = Position()

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Train every task from where the run stands; evaluate and save after each."""
        if not self.at.untrained:
            self.at.untrained = self.evaluate()
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        while self.at.task < len(self.tasks):
            with Progress(
                *columns, console=self.console, disable=not self.console.is_terminal
            ) as p:
                self.train_task(self.tasks[self.at.task], p)
            self.at.matrix.append(self.evaluate())
            self.at.task, self.at.epoch, self.at.step = self.at.task + 1, 0, 0
            self.save()
            self.save(self.out / f"task-{self.at.task - 1}.pt")

    def train_task(self, task: TaskData, progress: Progress) -> None:
        spec = self.spec(random=True)
        steps = steps_per_epoch(task.train, spec)
        total = steps * self.config.epochs
        bar = progress.add_task(
            task.name, total=total, completed=self.at.epoch * steps + self.at.step, speed=""
        )
        began = saved = time.monotonic()
        seen, waited, loss = 0, 0.0, 0.0
        while self.at.epoch < self.config.epochs:
            stream = batches(
                task.train,
                spec,
                seed=self.seed + 1000 * self.at.task,
                epoch=self.at.epoch,
                start_step=self.at.step,
                workers=self.config.workers,
            )
            asked = time.monotonic()
            for batch in stream:
                waited += time.monotonic() - asked
                loss = self.train_step(batch.to(self.device))
                self.at.step = batch.step + 1
                seen += len(batch)
                spent = time.monotonic() - began
                speed = f"loss {loss:.3f}  {seen / spent:.0f} clips/s  data {waited / spent:.0%}"
                progress.update(bar, advance=1, speed=speed)
                if time.monotonic() - saved > _SAVE_EVERY_S:
                    self.save()
                    saved = time.monotonic()
                asked = time.monotonic()
            self.at.epoch, self.at.step = self.at.epoch + 1, 0
        spent = time.monotonic() - began
        if not self.console.is_terminal:
            self.console.print(
                f"{task.name}: {total} steps, loss {loss:.3f}, "
                f"{seen / max(spent, 1e-9):.0f} clips/s, {waited / max(spent, 1e-9):.0%} of the "
                f"time waiting for data, {spent:.0f} s"
            )

    def train_step(self, batch: Batch) -> float:
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda"):
            loss = self.model(self.model.patches(batch.video, batch.audio)).loss.mean()
        self.optimizer.zero_grad()
        loss.backward()
        if self.config.clip_grad is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_grad)
        self.optimizer.step()
        return float(loss.item())

    @torch.no_grad()
    def evaluate(self) -> list[float]:
        """The retrieval score of each task; the gallery is all tasks' clips."""
        self.model.eval()
        audio, video, names = [], [], []
        for task in self.tasks:
            for batch in batches(task.gallery, self.spec(random=False), seed=0, epoch=0):
                a, v = self.model.embed(batch.video.to(self.device), batch.audio.to(self.device))
                audio.append(a.float().cpu())
                video.append(v.float().cpu())
                names += [task.name] * len(batch)
        scores = retrieval(torch.cat(audio), torch.cat(video), names)
        return [scores[task.name] for task in self.tasks]

    def spec(self, random: bool) -> BatchSpec:
        m = self.config.model
        return BatchSpec(
            batch_size=self.config.batch_size,
            frames=m.frames,
            image_size=m.image_size,
            fbank_frames=m.fbank_frames,
            random=random,
            noise=self.config.noise,
        )

    # --- going on --------------------------------------------------------------------------------

    def save(self, path: Path | None = None) -> None:
        checkpoint.save(
            path or self.out / "latest.pt",
            self.model,
            self.optimizer,
            position=vars(self.at),
            data=self.fingerprint,
        )

    def resume(self) -> None:
        """Go on from latest.pt. Raises StoreError where the clips are no longer the same."""
        latest = self.out / "latest.pt"
        if not latest.is_file():
            return
        state = checkpoint.load(latest, self.model, self.optimizer)
        if state["data"] != self.fingerprint:
            raise StoreError(
                f"{latest} was trained on other clips or settings ({state['data'][:12]}… there, "
                f"{self.fingerprint[:12]}… here); choose another --out to begin anew"
            )
        self.at = Position(**state["position"])
        if self.at.task < len(self.tasks):
            self.console.print(
                f"going on in {self.tasks[self.at.task].name}, epoch {self.at.epoch}, "
                f"step {self.at.step}"
            )


def _fingerprint(tasks: list[TaskData], config: TrainConfig, seed: int) -> str:
    """What a run's numbers depend on: the clips of each task, the recipe, the seed."""
    parts = [t.train.fingerprint + t.gallery.fingerprint for t in tasks]
    return hashlib.sha256(
        "|".join([*parts, config.model_dump_json(), str(seed)]).encode()
    ).hexdigest()


def main(
    shards: Annotated[Path, typer.Option(help="A store, or its folder of shards.")],
    recipe: Annotated[str, typer.Option(help="Shipped recipe, or a TOML file.")] = "tiny",
    stream: Annotated[str | None, typer.Option(help="Task stream; the store's first.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path | None, typer.Option(help="Where results go: runs/…")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda; the GPU if there is one.")] = None,
) -> None:
    """Train a stream's tasks in order and report what is remembered."""
    began = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    config = load_config(recipe, override or [])
    stream, tasks = load_stream(open_store(shards), stream)
    out = out or Path("runs") / f"{stream}-{config.name}-seed{seed}"
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    print_of_data = _fingerprint(tasks, config, seed)
    trainer = Trainer(config, tasks, chosen, seed, out, print_of_data, console)
    trainer.resume()
    if trainer.at.task == len(tasks) and (out / "results.json").is_file():
        console.print(f"{out} holds this run's results already")
        outcome.show(console, outcome.read(out), out)
        return
    gallery = sum(len(task.gallery) for task in tasks)
    console.print(
        f"{stream}: {len(tasks)} tasks, {sum(len(task.train) for task in tasks)} clips to train "
        f"on, {gallery} to try; {config.name} on {chosen}"
    )
    trainer.run()
    found = outcome.Outcome(
        stream=stream,
        method="finetune",
        recipe=config.name,
        seed=seed,
        tasks=[task.name for task in tasks],
        matrix=trainer.at.matrix,
        untrained=trainer.at.untrained,
        chance=chance(gallery),
        gallery=gallery,
        seconds=time.monotonic() - began,
    )
    outcome.write(out, found)
    outcome.show(console, found, out)


if __name__ == "__main__":
    try:
        typer.run(main)
    except StoreError as error:
        sys.stderr.write(f"train: {error}\n")
        sys.exit(2)
