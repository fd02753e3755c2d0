"""`python -m pipelines` is `avstore`."""

import os
import sys


def main() -> None:
    """Run the command. Ctrl-C is one line, whatever was under way: imports, or a shutdown."""
    try:
        from pipelines.cli import main as run  # noqa: PLC0415 -- takes a second

        run()
    except BaseException as error:
        if not _interrupted(error):
            raise
        print("\navstore: interrupted; run the same command again to go on", file=sys.stderr)
        sys.stderr.flush()
        os._exit(130)  # what is half closed would only complain


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
