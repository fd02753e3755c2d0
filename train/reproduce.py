"""Compare methods on a small stream over several seeds: `make reproduce-sample`.

    python train/reproduce.py --shards data/shards [--methods finetune,er,…] [--seeds 3]

Each run is a run of train/run.py in a folder under --out; finished runs are not repeated.
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

if __package__ in (None, ""):  # run as a file: import the package from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback between runs

from rich.table import Table

from avstore.manifests import terminal
from avstore.manifests.store import write_text
from avstore.train import run
from avstore.train.arguments import add_seeds_option, add_set_option, add_store_option, parse_args
from avstore.train.comparison import spread
from avstore.train.config import load_config
from avstore.train.errors import UserError
from avstore.train.plots import plot_comparison
from avstore.train.results import RESULTS
from avstore.train.runs import MEASURES, read_run

METHODS = "finetune,er,derpp,flava,stella,joint"


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code of the first run that fails, else 0."""
    args = parse(argv)
    methods = args.methods.split(",")
    started = time.perf_counter()
    for seed in range(args.seeds):
        for method in methods:
            try:
                words = arguments(args, method, seed)
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            if code := run.main(words):
                return code
    comparison = {m: method_summary(args.out, m, args.seeds) for m in methods}
    write_text(args.out / "comparison.json", json.dumps(comparison, indent=2))
    plot_comparison(args.out / "comparison.png", comparison)
    console = terminal.console()
    console.print(comparison_table(comparison))
    minutes = (time.perf_counter() - started) / 60
    console.print(f"{minutes:.0f} minutes; plot {args.out / 'comparison.png'}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(
        description="Compare methods on a small stream over several seeds.",
        epilog="Example: python train/reproduce.py --shards data/shards --methods er,stella",
    )
    add_store_option(p)
    p.add_argument("--methods", default=METHODS, help=f"separated by commas (default: {METHODS})")
    add_seeds_option(p, default=3)
    p.add_argument(
        "--config", "--recipe", default="tiny", help="as of train/run.py (default: tiny)"
    )
    p.add_argument("--stream", help="task stream (default: the first whose tasks all have clips)")
    p.add_argument("--memory", type=int, default=16, help="items of a memory (default: 16)")
    add_set_option(p)
    p.add_argument(
        "--out", type=Path, default=Path("runs/reproduce"), help="folder (default: runs/reproduce)"
    )
    return parse_args(p, argv)


def arguments(args: argparse.Namespace, method: str, seed: int) -> list[str]:
    """Return the command-line arguments of one run."""
    words = ["--shards", args.shards, "--config", args.config, "--method", method]
    words += ["--seed", str(seed), "--out", str(args.out / f"{method}-{seed}")]
    words += ["--stream", args.stream] if args.stream else []
    replays = method not in ("finetune", "joint")
    sets = [*([f"options.memory_size={args.memory}"] if replays else []), *args.set]
    if method == "joint":
        sets += equal_rows(args)
    return words + [word for item in sets for word in ("--set", item)]


def equal_rows(args: argparse.Namespace) -> list[str]:
    """Return settings that give joint training the rows and steps of replay.

    Replay trains on its batch and as many replayed rows, so joint training gets twice the batch
    for twice the epochs.
    """
    config = load_config(args.config, {}, args.set)
    return [f"batch_size={2 * config.batch_size}", f"epochs={2 * config.epochs}"]


def method_summary(out: Path, method: str, seeds: int) -> dict[str, Any]:
    """Return a method's measures over seeds, mean of both directions, in percent.

    Returns:
        For each measure the values, and under `<measure> mean` and `<measure> std` their mean and
        standard deviation; `chance` and `seeds`.
    """
    runs = [read_run(out / f"{method}-{seed}", method) for seed in range(seeds)]
    chance = json.loads((runs[0].folder / RESULTS).read_text())["chance_avg"]
    summary: dict[str, Any] = {"chance": chance, "seeds": seeds}
    for name in MEASURES:
        summary[name] = values = [run.scores[name] for run in runs if name in run.scores]
        if values:
            summary[f"{name} mean"], summary[f"{name} std"] = spread(values)
    return summary


def comparison_table(comparison: dict[str, dict[str, Any]]) -> Table:
    """Return the comparison, for the terminal."""
    first = next(iter(comparison.values()))
    table = Table(
        title=f"Mean R@1/5/10, both directions, % (± std over {first['seeds']} seeds); "
        f"chance {first['chance']:.1f}",
        box=None,
        header_style="bold",
    )
    table.add_column("method")
    for name in MEASURES:
        table.add_column(name, justify="right")
    for method, values in comparison.items():
        cells = [
            f"{values[f'{name} mean']:.1f} ± {values[f'{name} std']:.1f}" if values[name] else "–"
            for name in MEASURES
        ]
        table.add_row(method, *cells)
    return table


if __name__ == "__main__":
    sys.exit(main())
