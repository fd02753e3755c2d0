"""The `avstore` command."""

import sys

import typer
from pydantic import ValidationError
from rich.console import Console

from avstore.datasets.spec import AnnotationError
from avstore.manifests.account import AccountError
from avstore.manifests.errors import describe_os_error, is_client_error
from avstore.manifests.lock import StoreBusyError
from avstore.manifests.store import StoreError
from avstore.pipelines.cli import (
    build,
    drop,
    export,
    gc,
    index,
    report,
    snapshot,
    sql,
    status,
    verify,
)
from avstore.pipelines.cli.annotations import app as annotations_app
from avstore.pipelines.cli.datasets import app as datasets_app
from avstore.pipelines.cli.exchange import app as exchange_app
from avstore.pipelines.cli.features import app as features_app
from avstore.pipelines.cli.fetching import availability_app, retry
from avstore.pipelines.cli.options import ExitCode
from avstore.pipelines.cli.recipe import app as recipe_app
from avstore.pipelines.cli.tasks import app as tasks_app
from avstore.pipelines.cli.training import app as batch_app
from avstore.pipelines.cli.training import stats
from avstore.pipelines.extract.recipe import RecipeError
from avstore.pipelines.fetch.guards import FetchStopped
from avstore.pipelines.fetch.source import MachineError, SourceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="An audio-visual feature store for continual learning.",
)
app.command("build")(build.run)
app.command("sql")(sql.run)
app.command("status")(status.run)
app.command("verify")(verify.run)
app.command("index")(index.run)
app.command("report")(report.run)
app.command("export")(export.run)
app.command("gc")(gc.run)
app.command("drop")(drop.run)
app.add_typer(snapshot.app, name="snapshot")
app.command("retry")(retry)
app.add_typer(availability_app, name="availability")
app.add_typer(features_app, name="features")
app.add_typer(recipe_app, name="recipe")
app.add_typer(tasks_app, name="tasks")
app.add_typer(annotations_app, name="annotations")
app.add_typer(datasets_app, name="datasets")
app.add_typer(batch_app, name="batch")
app.command("stats")(stats)
app.add_typer(exchange_app, name="exchange")

# Typer's own click or the installed one, by its version: what its errors have in common.
_CallError: type[Exception] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
_USER = (StoreError, AnnotationError, RecipeError, SourceError, ValidationError, LookupError)


def main() -> None:
    """Run the command; what a person did wrong is one line and an exit code, no traceback."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        code = app(standalone_mode=False)
    except _CallError as error:
        error.show()  # type: ignore[attr-defined]
        sys.exit(ExitCode.USAGE)
    except StoreBusyError as error:
        errors.print(f"avstore: {error}", markup=False)
        sys.exit(ExitCode.BUSY)
    except (FetchStopped, MachineError) as error:
        errors.print(f"avstore: {error}", markup=False)
        sys.exit(ExitCode.FAILED)
    except _USER as error:
        errors.print(f"avstore: {error}", markup=False)
        sys.exit(ExitCode.USAGE)
    except (FileExistsError, FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        errors.print(f"avstore: {error.filename}: {error.strerror}; name another", markup=False)
        sys.exit(ExitCode.USAGE)
    except OSError as error:
        errors.print(f"avstore: {describe_os_error(error)}", markup=False)
        sys.exit(ExitCode.FAILED)
    except AccountError as error:
        errors.print(f"avstore: {error}", markup=False)
        sys.exit(ExitCode.FAILED)
    except Exception as error:
        if not is_client_error(error):
            raise
        errors.print(f"avstore: the remote store cannot be used: {error}", markup=False)
        sys.exit(ExitCode.FAILED)
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    if code == ExitCode.INTERRUPTED:  # so Typer tells of Ctrl-C
        raise KeyboardInterrupt
    sys.exit(code or ExitCode.OK)
