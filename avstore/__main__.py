"""`python -m avstore` is the `avstore` command."""

import logging
import os
import signal
import sys


def main() -> None:
    """Run the command. Ctrl-C and SIGTERM are one line, whatever was under way: imports, or a
    shutdown. Exit code 130 and 143."""
    told: list[int] = []

    def stop(number: int, _frame: object) -> None:
        told.append(number)
        logging.disable()  # of what the workers' end makes libraries say
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        from avstore.pipelines.cli.app import main as run  # noqa: PLC0415 -- takes a second

        run()
    except BaseException as error:
        if not _interrupted(error):
            raise
        what, code = ("terminated", 143) if signal.SIGTERM in told else ("interrupted", 130)
        print(f"\navstore: {what}; run the same command again to go on", file=sys.stderr)
        sys.stderr.flush()
        os._exit(code)  # what is half closed would only complain


def _interrupted(error: BaseException | None) -> bool:
    """Whether it is Ctrl-C, or comes of it."""
    while error is not None:
        # DuckDB notices Ctrl-C itself, and says so with an error of its own.
        if isinstance(error, KeyboardInterrupt) or str(error) == "Query interrupted":
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    main()
