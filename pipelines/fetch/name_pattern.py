"""Parse `--names`: a format string of file names with the fields of a clip."""

import difflib
import posixpath
from dataclasses import dataclass
from string import Formatter
from typing import Any

from avstore.pipelines.fetch.source import MediaRequest, SourceError

FIELDS = ("id", "key", "start", "end", "start_ms", "end_ms", "label", "split")
_EXAMPLE = "for example --names '{id}_{start:.3f}' or '{label}/{id}_{start:06d}'"


class _Seconds(float):
    """A time that takes integer formats, as in '{start:06d}', where it is whole."""

    def __format__(self, spec: str) -> str:
        if not spec:
            return f"{self:.9f}".rstrip("0").rstrip(".")
        if spec.endswith("d"):
            if not self.is_integer():
                raise _NotWholeError
            return format(int(self), spec)
        return float.__format__(self, spec)


class _NotWholeError(Exception):
    """A time with a fraction has no integer form: the clip has no file of such a name."""


@dataclass(frozen=True)
class NamePattern:
    """A pattern of file names.

    Attributes:
        text: The format string: a path relative to the source, with or without extension.
        fields: Its fields.
        whole: Whether the files are whole videos (prefix `whole:`) or clips (`clip:`); None where
            the pattern has no prefix.
    """

    text: str
    fields: frozenset[str]
    whole: bool | None

    @property
    def names_clip(self) -> bool:
        """Whether the names tell the clips of one video apart."""
        return bool(self.fields & {"key", "start", "end", "start_ms", "end_ms"})

    def names(self, request: MediaRequest) -> tuple[str, ...]:
        """Return the clip's names: one a label; none where the clip lacks a field."""
        values: dict[str, Any] = {
            "id": request.source_id,
            "key": request.key,
            "split": request.split,
        }
        for name, seconds in (("start", request.start_s), ("end", request.end_s)):
            if seconds is not None:
                values[name] = _Seconds(seconds)
                values[f"{name}_ms"] = round(seconds * 1000)
        labels: list[str] = [""]
        if "label" in self.fields:
            labels = [form for x in request.labels for form in (x, x.replace(" ", "_"))]
        names: dict[str, None] = {}
        for label in labels:
            try:
                names[posixpath.normpath(self.text.format(**values, label=label))] = None
            except (KeyError, _NotWholeError):
                return ()
        return tuple(names)


def parse_pattern(text: str) -> NamePattern:
    """Parse and check a pattern.

    Raises:
        SourceError: It is not a format string, has an unknown field, or names every clip alike.
    """
    prefix, _, rest = text.partition(":")
    whole = {"whole": True, "clip": False}.get(prefix)
    body = text if whole is None else rest
    fields = _fields(body, text)
    if not fields & {"id", "key"}:
        raise SourceError(
            f"--names {text!r} has neither {{id}} nor {{key}}, so it gives many clips one name; "
            f"{_EXAMPLE}"
        )
    if body.startswith("/") or ".." in body.split("/"):
        raise SourceError(
            f"--names {text!r} is not a path below SOURCE; write it relative to SOURCE: {_EXAMPLE}"
        )
    pattern = NamePattern(body, frozenset(fields), whole)
    probe = MediaRequest("x/x", "x", "x", 1.0, 2.0, (), split="x", labels=("x",))
    try:
        pattern.names(probe)
    except (ValueError, TypeError, IndexError) as error:
        raise SourceError(f"--names {text!r} cannot be formatted: {error}; {_EXAMPLE}") from error
    return pattern


def _fields(body: str, text: str) -> set[str]:
    try:
        parts = list(Formatter().parse(body))
    except ValueError as error:
        raise SourceError(
            f"--names {text!r} is not a format string: {error}; {_EXAMPLE}"
        ) from error
    fields = set()
    for _, field, spec, conversion in parts:
        if field is None:
            continue
        if field not in FIELDS or conversion or "{" in (spec or ""):
            near = difflib.get_close_matches(field, FIELDS, n=1, cutoff=0.5)
            hint = f"did you mean {{{near[0]}}}? " if near and near[0] != field else ""
            raise SourceError(
                f"--names {text!r}: {{{field}}} is not a field; {hint}the fields are "
                + ", ".join(f"{{{name}}}" for name in FIELDS)
                + f"; {_EXAMPLE}"
            )
        fields.add(field)
    return fields
