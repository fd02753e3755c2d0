"""Suggest the known name that a mistyped one is nearest to."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the name nearest to a mistyped one, or nothing.

    Example:
        >>> did_you_mean("stela", ["stella", "uavm"])
        " (did you mean 'stella'?)"
    """
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    starts = [each for each in by_lower if each.startswith(name.lower())] if name else []
    found = near or starts
    return f" (did you mean {by_lower[found[0]]!r}?)" if found else ""
