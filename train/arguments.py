"""Options that the trainer's programs share."""

import argparse
import os
import sys
from collections.abc import Sequence

from avstore.manifests import terminal


def add_store_option(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add `--shards`, also called `--store`; AVSTORE_STORE is its default."""
    default = os.environ.get("AVSTORE_STORE")
    parser.add_argument(
        "--shards",
        "--store",
        metavar="STORE",
        required=required and default is None,
        default=default and os.path.expanduser(default),
        help="a store, its shards folder, or s3://… (default: AVSTORE_STORE)",
    )


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """Add `--set KEY=VALUE`, whose values `load_config` takes as `sets`."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the config, as optim.lr=1e-4; may be repeated",
    )


def add_seeds_option(parser: argparse.ArgumentParser, default: int) -> None:
    """Add `--seeds`, the number of runs of each kind."""
    text = f"number of seeds (default: {default})"
    parser.add_argument("--seeds", type=_seeds, default=default, help=text)


def _seeds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def parse_args(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line, with the options -q and -v of every `avstore` command.

    Args:
        parser: The program's parser, to which the two are added.
        argv: The arguments; None for those of the process.
    """
    quiet = "print no progress: results, warnings and errors only"
    parser.add_argument("-q", "--quiet", action="store_true", help=quiet)
    verbose = "log what avstore and its libraries do, to standard error"
    parser.add_argument("-v", "--verbose", action="store_true", help=verbose)
    args = parser.parse_args(terminal.expand_home(sys.argv[1:] if argv is None else argv))
    if args.quiet:
        terminal.set_quiet()
    if args.verbose:
        terminal.set_verbose()
    return args


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add where and how to run: device, loader processes, changed clips, tracker, settings."""
    parser.add_argument(
        "--device", help="cpu, cuda or cuda:N (default: cuda if available, else cpu)"
    )
    parser.add_argument(
        "--workers", type=int, help="loader processes (default: config's data.workers)"
    )
    parser.add_argument(
        "--allow-changed-data",
        action="store_true",
        help="continue although the store's clips have changed, with a new epoch",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print all settings as a config (TOML) and stop; needs no store",
    )
    parser.add_argument(
        "--track",
        choices=["none", "tensorboard", "wandb"],
        default="none",
        help="where to log losses and scores (default: none)",
    )


def sets_of(args: argparse.Namespace) -> list[str]:
    """Return the settings of `--set` and of `--workers`."""
    return [*args.set, *([f"data.workers={args.workers}"] if args.workers is not None else [])]
