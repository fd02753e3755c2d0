"""Clips of several annotation files put together: each once, and what contradicts is named."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from avstore.datasets.lines import Line, require_usable
from avstore.datasets.spec import BadRow, Clip


@dataclass
class ClipTable:
    """Clips in file order, one a key; the first one read is kept.

    A second file may repeat a clip as it is. The same clip again in one file, or with another
    label, split or time in another, is a bad row that names both places.
    """

    bad_rows: list[BadRow] = field(default_factory=list)
    _clips: dict[str, tuple[Clip, Line]] = field(default_factory=dict)

    @property
    def clips(self) -> list[Clip]:
        return [clip for clip, _ in self._clips.values()]

    def add_file(
        self, path: Path, rows: Iterable[tuple[Clip, Line] | BadRow], expected: str
    ) -> None:
        """Take in a file's rows. Raises AnnotationError where none of them is usable."""
        usable = 0
        for row in rows:
            if isinstance(row, BadRow):
                self.bad_rows.append(row)
                continue
            usable += 1
            clip, line = row
            first = self._clips.setdefault(clip.key, row)
            if first is not row and (reason := _clash(clip, line, first)):
                self.bad_rows.append(line.bad(reason))
        require_usable(path, usable, self.bad_rows, expected)


def _clash(clip: Clip, line: Line, first: tuple[Clip, Line]) -> str | None:
    """Why a clip that was read before is an error now, or None: another file says the same."""
    earlier, where = first
    if where.file != line.file and clip == earlier:
        return None
    labels = ", ".join(earlier.labels)
    said = "" if clip == earlier else f" as {labels!r}, {earlier.split}"
    return f"clip {clip.key!r} again; row {where.row} of {where.file} has it{said} and is kept"
