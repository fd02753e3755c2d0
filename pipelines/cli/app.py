"""The `avstore` command: find the command that is called, run it, and report errors in one line."""

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from avstore import __version__
from avstore.manifests import terminal
from avstore.manifests.path_text import escape_output, printable_text
from avstore.manifests.redact import redact
from avstore.pipelines import cli
from avstore.pipelines.cli.options import ExitCode

# The first line of each command's help, so that `avstore --help` imports no command. Each command
# is the Typer app of the module of its name, which is imported when the command is called.
COMMANDS = {
    "build": "Build a dataset's shards and manifest.",
    "match": "Show which files belong to which clips, before building.",
    "sql": "Run a SQL query against the manifest, read-only.",
    "status": "Show how many clips are stored, per dataset and stage, and why others are not.",
    "verify": "Check every file against its checksum, and every shard against its rows.",
    "index": "Rebuild manifest.duckdb from the sidecars and the ledger.",
    "browse": "Look at a store in the browser: clips, classes, task streams, training runs.",
    "report": "Write an HTML report of a dataset: summary, reasons, coverage, samples.",
    "export": "Export the clips of a query as a self-contained dataset.",
    "gc": "List, or with --delete remove, files that neither manifest nor snapshot needs.",
    "drop": "Drop a recipe's shards, and features computed from them, from the manifest.",
    "snapshot": "Create, list, compare and query named, immutable states of the manifest.",
    "retry": "Mark failed clips so that the next build tries them again.",
    "availability": "Export and compare which published clips are available.",
    "features": "Build, import, list, report, compare and drop derived features.",
    "recipe": "List, show and check extraction recipes.",
    "tasks": "List, show, check, plot and add task streams.",
    "annotations": "Fetch and check annotation files.",
    "datasets": "List datasets and print their data cards.",
    "train": "Train a model on a stream of tasks; all options of train/run.py.",
    "runs": "List, compare, plot and query training runs.",
    "figures": "Draw a paper's figures from trained models, and write their numbers.",
    "batch": "Show the batches of a training run.",
    "stats": "Compute the mean and standard deviation of a dataset's fbanks.",
    "exchange": "Import and export third-party formats.",
}

# The base class of Typer's usage errors, which Typer does not export; its module depends on the
# version.
_CallError: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)


class LazyGroup(TyperGroup):
    """A group that lists COMMANDS without importing them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the called command's name, the command itself, and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else command, rest


def load_command(name: str) -> Any:
    """Import a command or group of COMMANDS."""
    command = get_command(import_module(f"{cli.__name__}.{name}").app)
    for each in _with_children(command):
        each.params += _common_options()
    return command


def _with_children(command: Any) -> Iterator[Any]:
    """Yield the commands that run: a command itself, or those of a group."""
    children = getattr(command, "commands", None)
    if children is None:
        yield command
    for child in (children or {}).values():
        yield from _with_children(child)


def _common_options() -> list[Any]:
    """Return the parameters of every command; their callbacks do all that they do."""
    parameters: list[Any] = get_command(_COMMON).params
    for parameter in parameters:
        parameter.expose_value = False
    return parameters


_COMMON = typer.Typer(add_completion=False)


@_COMMON.command()
def _common(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print no progress and no next steps.",
            callback=lambda wanted: wanted and terminal.set_quiet(),
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Log what avstore and its libraries do, to standard error.",
            callback=lambda wanted: wanted and terminal.set_verbose(),
        ),
    ] = False,
) -> None:
    """Declare the options of every command."""


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="An audio-visual feature store for continual learning.",
    epilog="Example: avstore build vggsound --store data\n\n"
    "Exit codes: 0 success, 1 a problem was found, 2 wrong call or input, 3 the store is being "
    "written, 4 the machine failed (disk, network), 130 interrupted.\n\n"
    "To complete commands with the Tab key: avstore --install-completion",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"avstore {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Version of avstore.", callback=_print_version),
    ] = False,
) -> None:
    """Declare the options of `avstore` itself."""


def main() -> None:
    """Run the command; report a user's or the machine's error in one line, with an exit code."""
    escape_output()
    try:
        code = app(terminal.expand_home(sys.argv[1:]), prog_name="avstore", standalone_mode=False)
    except _CallError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(ExitCode.USAGE)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except BrokenPipeError:
        raise  # standard output is closed; __main__ ends silently
    except Exception as error:
        message, code = _explain(error)
        if message is None:
            raise
        print(f"avstore: {printable_text(redact(message))}", file=sys.stderr)
    finally:
        terminal.reset()
    if code == ExitCode.INTERRUPTED:  # Typer returns it for Ctrl-C
        raise KeyboardInterrupt
    sys.stdout.flush()
    sys.exit(code or ExitCode.OK)


def _explain(error: Exception) -> tuple[str | None, int]:
    """Return an error's message and exit code; no message for a defect of avstore itself."""
    # Imported here because they bring pydantic and duckdb, and most calls end without an error.
    from duckdb import OutOfMemoryException
    from pydantic import ValidationError

    from avstore.datasets.spec import AnnotationError
    from avstore.manifests.account import AccountError
    from avstore.manifests.errors import (
        describe_os_error,
        first_sentence,
        is_client_error,
        is_machine_error,
        memory_hint,
    )
    from avstore.manifests.lock import StoreBusyError
    from avstore.manifests.store import StoreError
    from avstore.pipelines.extract.recipe import RecipeError
    from avstore.pipelines.fetch.guards import FetchStopped
    from avstore.pipelines.fetch.source import MachineError, SourceError

    message, code = str(error), ExitCode.USAGE
    match error:
        case StoreBusyError():
            code = ExitCode.BUSY
        case FetchStopped() | MachineError() | AccountError():
            code = ExitCode.FAILED
        case StoreError() | AnnotationError() | RecipeError() | SourceError():
            pass
        case ValidationError() | LookupError():
            pass
        case UnicodeEncodeError():
            message = f"{error.object!r} is not UTF-8, as this needs; rename it"
        case FileExistsError() | FileNotFoundError() | NotADirectoryError() | IsADirectoryError():
            message = f"{error.filename}: {error.strerror}; choose another path"
        case OSError():
            message, code = describe_os_error(error), ExitCode.FAILED
        case MemoryError() | OutOfMemoryException():
            hint = memory_hint() or "; free some and run the same command again"
            message, code = f"out of memory: {first_sentence(error)}{hint}", ExitCode.FAILED
        case RuntimeError() if "can't start new thread" in str(error):
            hint = (
                memory_hint() or "; raise the limit on processes (ulimit -u) or use less --workers"
            )
            message, code = f"no thread can be started{hint}", ExitCode.FAILED
        case _ if is_machine_error(error):
            reason = str(error).splitlines()[0]
            message = f"{reason}; free disk space or memory and run the same command again"
            code = ExitCode.FAILED
        case _ if is_client_error(error):
            message, code = f"the remote store cannot be used: {error}", ExitCode.FAILED
        case _:
            return None, ExitCode.FAILED
    return message, code
