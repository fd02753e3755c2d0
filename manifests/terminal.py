"""The console that every command prints to: data is text, never markup."""

import sys

from rich.console import Console


def console() -> Console:
    """Return a console on standard output; standard error is for errors only.

    Square brackets and `:names:` in what it prints are plain text, in table cells too. To style
    words, print `rich.text.Text.assemble((words, "bold"), rest)`.
    """
    return Console(file=sys.stdout, highlight=False, soft_wrap=True, markup=False, emoji=False)


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Return a count with its noun: `1 shard`, `2 shards`, `1,000 matches`.

    Args:
        count: The number.
        noun: The noun for one.
        nouns: The noun for all other numbers; None adds an s.
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"
