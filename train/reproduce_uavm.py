"""Train small UAVM models on the embedded sample, for all of their figures: `make reproduce-uavm`.

    python train/reproduce_uavm.py --shards data [--seeds 2]

Each run is a run of train/run.py in a folder under --out; finished runs are not repeated.
`avstore figures uavm` draws the figures from that folder.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if __package__ in (None, ""):  # run as a file: import the package from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback between runs

from avstore.manifests import terminal
from avstore.train import run
from avstore.train.arguments import add_seeds_option, add_set_option, add_store_option, parse_args

# The features of `make reproduce-uavm` have a row a second of video, and as many of audio.
SETTINGS = ("model.rows=10", "epochs=25", "batch_size=8")
MODELS: dict[str, tuple[str, ...]] = {
    "unified": (),
    "unified-narrow": ("model.shared_width=16",),
    "all-shared": ("model.own_depth=0", "model.shared_depth=2"),
    "independent": ("model.own_depth=2", "model.shared_depth=0"),
    "mostly-audio": ("objective.audio_share=0.9",),
    "cross-attention": ("model.kind=cross_attention",),
}
"""Settings of the models that are trained on all classes at once."""
METHODS: dict[str, tuple[str, ...]] = {"finetune": (), "er": ("options.memory_size=16",)}
"""Options of the methods by which the unified model is trained task by task."""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code of the first run that fails, else 0."""
    args = parse(argv)
    started = time.perf_counter()
    for seed in range(args.seeds):
        for words in runs(args, seed):
            if code := run.main(words):
                return code
    minutes = (time.perf_counter() - started) / 60
    terminal.console().print(f"{minutes:.1f} minutes; runs in {args.out}", markup=False)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(
        description="Train small UAVM models, and one class-incrementally, for their figures.",
        epilog="Example: python train/reproduce_uavm.py --shards data --seeds 3",
    )
    add_store_option(p)
    add_seeds_option(p, default=2)
    p.add_argument("--dataset", default="vggsound", help="dataset of the store (default: vggsound)")
    p.add_argument(
        "--stream", default="sample-4", help="stream of the continual runs (default: sample-4)"
    )
    add_set_option(p)
    p.add_argument(
        "--out", type=Path, default=Path("runs/uavm"), help="folder (default: runs/uavm)"
    )
    return parse_args(p, argv)


def runs(args: argparse.Namespace, seed: int) -> list[list[str]]:
    """Return the command-line arguments of a seed's runs."""
    once = [_words(args, seed, name, args.dataset, "finetune", own) for name, own in MODELS.items()]
    return once + [
        _words(args, seed, f"{args.stream}-{method}", args.stream, method, own)
        for method, own in METHODS.items()
    ]


def _words(
    args: argparse.Namespace,
    seed: int,
    name: str,
    stream: str,
    method: str,
    own: tuple[str, ...],
) -> list[str]:
    words = ["--shards", args.shards, "--config", "uavm_tiny", "--stream", stream]
    words += ["--method", method, "--seed", str(seed), "--out", str(args.out / f"{name}-{seed}")]
    return words + [word for item in (*SETTINGS, *own, *args.set) for word in ("--set", item)]


if __name__ == "__main__":
    sys.exit(main())
