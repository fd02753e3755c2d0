"""The terminal: the console that every command prints to, and what -q and -v change."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from avstore.manifests.path_text import printable_text

_hidden: set[str] = set()


class _TextConsole(Console):
    """A console that escapes control characters, and raises when nobody reads any more."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield what is printed; characters that a terminal would obey are escaped."""
        for segment in super().render(renderable, options):
            yield (
                segment if segment.control else segment._replace(text=printable_text(segment.text))
            )


def console() -> Console:
    """Return a console on standard output; standard error is for errors only.

    Control characters in what it prints are escaped; square brackets and `:names:` are plain text,
    in table cells too. To style words, print `rich.text.Text.assemble((words, "bold"), rest)`. With
    NO_COLOR, and where standard output is no terminal, nothing is styled.
    """
    return _TextConsole(
        file=sys.stdout,
        highlight=False,
        soft_wrap=True,
        markup=False,
        emoji=False,
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        # Jupyter sets FORCE_COLOR, with which rich draws its bars into pipes and files, too.
        force_terminal=None if sys.stdout.isatty() else False,
    )


def set_quiet() -> None:
    """Print no progress and no next steps from now on, as for -q."""
    _hidden.add("progress")


def reset() -> None:
    """Forget -q and --json of an earlier call in this process."""
    _hidden.clear()


def is_quiet() -> bool:
    """Return whether progress and next steps are not to be printed."""
    return bool(_hidden)


def set_verbose() -> None:
    """Log what avstore and its libraries do to standard error, as for -v."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _LogLine(logging.Formatter):
    """A formatter that escapes control characters in messages of others."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_text(super().format(record))


def expand_home(words: Iterable[str]) -> list[str]:
    """Return words with `~/` expanded, in `--option=~/path` too, as not all shells do."""
    return [_expand(word) for word in words]


def _expand(word: str) -> str:
    option, equals, value = word.partition("=")
    if option.startswith("--") and value.startswith("~"):
        return f"{option}{equals}{os.path.expanduser(value)}"
    return os.path.expanduser(word)


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return a count with its noun: `1 shard`, `2 shards`, `1,000 matches`.

    Args:
        count: The number.
        noun: The noun for one.
        nouns: The noun for all other numbers; None adds an s.
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
