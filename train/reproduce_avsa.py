"""Train a small AVSA on the spatial sample and score it: `make reproduce-avsa`.

    python train/reproduce_avsa.py --shards data [--seeds 3]

Each run is a run of train/run.py in a folder under --out; finished runs are not repeated. Exit code
1 if a score is not where it must be for views to be told apart by the direction of sound.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from statistics import mean

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __package__ in (None, ""):  # run as a file: import the package from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback between runs

import pyarrow.parquet as pq
from rich.table import Table

from avstore.manifests import terminal
from avstore.train import run
from avstore.train.arguments import add_seeds_option, add_set_option, add_store_option, parse_args
from avstore.train.results import METRICS, final_scores

ALIGNMENT, PAIRS = "avsa_tiny", "avsa_bin_tiny"
# Score of a config, by the least and the most that it may be, %.
LIMITS: dict[tuple[str, str], tuple[float, float]] = {
    (ALIGNMENT, "avsa_acc"): (50.0, 100.0),
    (ALIGNMENT, "avsa_strict_acc"): (50.0, 100.0),
    (ALIGNMENT, "avsa_acc_yawed"): (0.0, 33.0),
    (ALIGNMENT, "avc_acc"): (35.0, 100.0),
    (PAIRS, "balanced_accuracy"): (55.0, 100.0),
}
_WORDS = {
    "avsa_acc": "AVSA: right view among 4",
    "avsa_strict_acc": "the same, ties are wrong",
    "avsa_acc_yawed": "the same, sound turned by a random yaw",
    "avc_acc": "AVC: right clip among 8",
    "balanced_accuracy": "AVSA-Bin, mean of turned and not turned sound",
}
_CHANCE = {"avc_acc": 12.5, "balanced_accuracy": 50.0}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code of the first run that fails, else 0 or 1."""
    args = parse(argv)
    started = time.perf_counter()
    folders: dict[str, list[Path]] = {ALIGNMENT: [], PAIRS: []}
    for seed in range(args.seeds):
        init: Path | None = None
        for config, done in folders.items():
            done.append(args.out / f"{config}-{seed}")
            if code := run.main(_words(args, config, done[-1], seed, init)):
                return code
            init = done[-1] / "task-01.pt"
    minutes = (time.perf_counter() - started) / 60
    failed = report(folders)
    terminal.console().print(f"{minutes:.1f} minutes; runs in {args.out}", markup=False)
    return int(failed)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(
        description="Train a small AVSA on the spatial sample, and score it.",
        epilog="Example: python train/reproduce_avsa.py --shards data --seeds 3",
    )
    add_store_option(p)
    add_seeds_option(p, default=1)
    add_set_option(p)
    p.add_argument(
        "--out", type=Path, default=Path("runs/avsa"), help="folder (default: runs/avsa)"
    )
    return parse_args(p, argv)


def _words(
    args: argparse.Namespace, config: str, out: Path, seed: int, init: Path | None
) -> list[str]:
    words = ["--shards", args.shards, "--config", config, "--out", str(out), "--seed", str(seed)]
    words += ["--init", str(init)] if init else []
    return words + [word for item in args.set for word in ("--set", item)]


def report(folders: dict[str, list[Path]]) -> bool:
    """Print the mean score of each config's runs; return whether one is outside of its limits."""
    table = Table("score, %", "runs", "must be", "chance", title="The spatial sample, held out")
    failed = False
    for (config, metric), (low, high) in LIMITS.items():
        values = [score(folder, metric) for folder in folders[config]]
        ok = low < mean(values) <= high
        failed |= not ok
        limit = f"> {low:g}" if low else f"< {high:g}"
        shown = " ".join(f"{value:.1f}" for value in values) + ("" if ok else " (!)")
        table.add_row(_WORDS[metric], shown, limit, f"{_CHANCE.get(metric, 25.0):g}")
    terminal.console().print(table)
    return failed


def score(folder: Path, metric: str) -> float:
    """Return a score of a finished run, of all clips."""
    return final_scores(pq.read_table(folder / METRICS).to_pylist())["all"][metric]


if __name__ == "__main__":
    sys.exit(main())
