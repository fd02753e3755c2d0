"""Render templates: everything that comes from data is escaped, control characters included."""

from datetime import timedelta
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from avstore.manifests.path_text import printable_text
from avstore.manifests.redact import redact

_PACKAGE = "avstore.pipelines.browse"
STATIC = {"app.css": "text/css", "app.js": "text/javascript", "player.js": "text/javascript",
          "tables.js": "text/javascript",
          "icon.svg": "image/svg+xml"}  # fmt: skip
"""Files that pages load, with their types."""


def environment() -> Environment:
    """Return the environment of all pages."""
    found = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        finalize=_printable,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "number": number,
        "duration": duration,
        "percent": percent,
        "path": lambda text: quote(str(text), safe="/"),
        "params": lambda pairs: urlencode(list(pairs.items())),
        "words": lambda text: str(text).replace("_", " "),
        "size": size,
        "redact": lambda value: redact(str(value)),  # addresses of a user's list may hold secrets
    }
    return found


def static_text(name: str) -> str:
    """Return the text of a file of STATIC."""
    return files(_PACKAGE).joinpath("static", name).read_text(encoding="utf-8")


def _printable(value: Any) -> Any:
    """Return a value of a page with control and bidirectional characters escaped."""
    if isinstance(value, Markup):  # escaped already
        return Markup(printable_text(str(value)))
    return printable_text(value) if isinstance(value, str) else value


def number(value: float | None, digits: int = 2) -> str:
    """Return a number for people: thousands separated, no needless digits.

    Examples:
        >>> number(22159), number(0.125), number(None)
        ('22,159', '0.12', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.{digits}f}"


def percent(part: float, whole: float) -> str:
    """Return a share in percent; not 100 % unless nothing is missing, nor 0 % unless all is."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < part < whole:
        share = min(max(share, 0.1), 99.9)
    return f"{share:.1f} %"


def duration(seconds: float | None) -> str:
    """Return seconds for people, such as `2 d 3 h`, `4 min 10 s` or `9.5 s`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    span = timedelta(seconds=round(seconds))
    hours, rest = divmod(span.seconds, 3600)
    minutes, left = divmod(rest, 60)
    if span.days:
        return f"{span.days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
