"""Methods side by side on a small stream, over several seeds: `make reproduce-sample`.

    python train/reproduce.py --shards data/shards [--methods finetune,er,…] [--seeds 3]

Each run is one of train/run.py, kept under --out; what is there already is not run again.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __package__ in (None, ""):  # run as a file: the project's root is its parent's parent
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # between runs there is nothing to save

import numpy as np
from rich.console import Console
from rich.table import Table

from avstore.train import run
from avstore.train.checkpoint import write_atomically
from avstore.train.config import load_config
from avstore.train.errors import UserError
from avstore.train.plots import plot_comparison

METHODS = "finetune,er,derpp,flava,stella,joint"
MEASURES = {
    "average": "average",
    "F(code)": "forgetting_code",
    "F(standard)": "forgetting_standard",
}


def main(argv: list[str] | None = None) -> int:
    """Exit code of the first run that fails, else 0."""
    p = argparse.ArgumentParser(description="Compare methods over seeds on a small stream.")
    p.add_argument("--shards", required=True)
    p.add_argument("--methods", default=METHODS)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--recipe", default="tiny")
    p.add_argument("--stream")
    p.add_argument("--memory", type=int, default=16, help="items that replay may keep")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    p.add_argument("--out", type=Path, default=Path("runs/reproduce"))
    args = p.parse_args(argv)
    methods = args.methods.split(",")
    if args.seeds < 1:
        p.error(f"--seeds {args.seeds}: at least one")
    began = time.perf_counter()
    for seed in range(args.seeds):
        for method in methods:
            try:
                words = command(args, method, seed)
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            if code := run.main(words):
                return code
    told = {m: collect(args.out, m, args.seeds) for m in methods}
    write_atomically(args.out / "comparison.json", json.dumps(told, indent=2).encode())
    plot_comparison(args.out / "comparison.png", told)
    console = Console(highlight=False, soft_wrap=True)
    show(console, told)
    spent = (time.perf_counter() - began) / 60
    console.print(f"{spent:.0f} minutes; plot {args.out / 'comparison.png'}")
    return 0


def command(args: argparse.Namespace, method: str, seed: int) -> list[str]:
    """Arguments of one run."""
    words = ["--shards", args.shards, "--recipe", args.recipe, "--method", method]
    words += ["--seed", str(seed), "--out", str(args.out / f"{method}-{seed}")]
    words += ["--stream", args.stream] if args.stream else []
    replays = method not in ("finetune", "joint")
    sets = [*([f"options.memory_size={args.memory}"] if replays else []), *args.set]
    if method == "joint":
        sets += equal_rows(args)
    return words + [word for item in sets for word in ("--set", item)]


def equal_rows(args: argparse.Namespace) -> list[str]:
    """Settings that let joint training see as many rows a step, over as many steps, as replay
    does (its own and as many replayed ones): twice the batch for twice the epochs."""
    config = load_config(args.recipe, {}, args.set)
    return [f"batch_size={2 * config.batch_size}", f"epochs={2 * config.epochs}"]


def collect(out: Path, method: str, seeds: int) -> dict[str, Any]:
    """Mean and standard deviation over seeds of the mean of both directions, in percent."""
    results = [
        json.loads((out / f"{method}-{s}" / "results.json").read_text()) for s in range(seeds)
    ]
    told: dict[str, Any] = {"chance": results[0]["chance_avg"], "seeds": seeds}
    for name, key in MEASURES.items():
        values = [
            [r["summary"][metric][key] for metric in ("a2v_avg", "v2a_avg")]
            for r in results
            if r["summary"]["a2v_avg"][key] is not None
        ]
        means = np.mean(values, axis=1) if values else np.array([])
        told[name] = means.tolist()
        if len(means):
            spread = float(means.std(ddof=1)) if len(means) > 1 else 0.0
            told[f"{name} mean"], told[f"{name} std"] = float(means.mean()), spread
    return told


def show(console: Console, told: dict[str, dict[str, Any]]) -> None:
    """The comparison for the terminal."""
    first = next(iter(told.values()))
    table = Table(
        title=f"Mean of R@1, 5, 10 and both ways, % (± std over {first['seeds']} seeds); "
        f"chance {first['chance']:.1f}",
        box=None,
        header_style="bold",
    )
    table.add_column("method")
    for name in MEASURES:
        table.add_column(name, justify="right")
    for method, values in told.items():
        cells = [
            f"{values[f'{name} mean']:.1f} ± {values[f'{name} std']:.1f}" if values[name] else "–"
            for name in MEASURES
        ]
        table.add_row(method, *cells)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
