"""Run the `avstore` command: `python -m avstore` and the installed script start here."""

import atexit
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn


def main() -> None:
    """Run the command; report Ctrl-C and SIGTERM in one line at any time, imports included.

    The exit code is then 130 or 143.
    """
    received: list[int] = []

    def stop(number: int, _frame: object) -> None:
        received.append(number)
        logging.disable()  # libraries log errors when their workers end
        raise KeyboardInterrupt

    if not (folder := Path(__file__).parent / "pipelines").is_dir():
        print(
            f"avstore: {folder} is not a folder: the checkout or archive lost its symbolic links; "
            "clone with git clone -c core.symlinks=true, or unpack with tar or unzip",
            file=sys.stderr,
        )
        sys.exit(2)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        from avstore.pipelines.cli.app import main as run  # noqa: PLC0415 -- takes long to import

        try:
            run()
        except SystemExit as end:
            _leave(end)
    except BrokenPipeError:  # such as `avstore sql … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(141)  # 128 + SIGPIPE
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        word, code = ("terminated", 143) if signal.SIGTERM in received else ("interrupted", 130)
        print(f"\navstore: {word}; run the same command again to continue", file=sys.stderr)
        sys.stderr.flush()
        os._exit(code)  # skip exit handlers: they print errors about half-closed workers


def _leave(end: SystemExit) -> NoReturn:
    """End the process with its exit code, without taking libraries apart.

    Whatever was to run at the end has run. Taking DuckDB apart after a Dask cluster has run a job
    prints thirty lines about leaked objects below the command's own last line.
    """
    if not isinstance(end.code, int | None):
        raise end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code or 0)


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether an error is Ctrl-C, or was caused by it."""
    while error is not None:
        # DuckDB handles Ctrl-C itself and raises its own error.
        if isinstance(error, KeyboardInterrupt) or str(error) == "Query interrupted":
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
