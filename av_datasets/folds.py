"""Collect the clips of datasets whose lists divide the same clips several times, in folds."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from avstore.datasets.lines import Line, usable_rows
from avstore.datasets.spec import BadRow, Clip

UNASSIGNED = "unassigned"


@dataclass(frozen=True, slots=True)
class FoldRow:
    """One row of a fold's list.

    Attributes:
        clip: The clip; its split and subsets are ignored.
        fold: Number of the fold, from 1.
        role: train or test; None for a clip that the fold does not use.
    """

    clip: Clip
    fold: int
    role: str | None


@dataclass
class FoldedClips:
    """Clips of the lists of all folds, in file order, each once.

    `split` is the clip's role in fold 1, or `unassigned`; `subsets` has its role in every fold that
    uses it (`fold1_train`, `fold2_test`). A clip that a fold lists twice becomes a bad row that
    names both places, and the first row counts.

    Attributes:
        bad_rows: The rows that could not be used.
    """

    bad_rows: list[BadRow] = field(default_factory=list)
    _clips: dict[str, Clip] = field(default_factory=dict)
    _rows: dict[tuple[str, int], tuple[FoldRow, Line]] = field(default_factory=dict)

    @property
    def clips(self) -> list[Clip]:
        """The clips in file order, with split and subsets."""
        roles: dict[str, dict[int, str]] = {}
        for (key, fold), (row, _) in self._rows.items():
            if row.role:
                roles.setdefault(key, {})[fold] = row.role
        return [_placed(clip, roles.get(key, {})) for key, clip in self._clips.items()]

    def add_file(
        self, path: Path, rows: Iterable[tuple[FoldRow, Line] | BadRow], expected: str
    ) -> None:
        """Add the rows of one file.

        Args:
            path: The file, for error messages.
            rows: Its parsed rows, each with its line.
            expected: The format that the file should have, for error messages.

        Raises:
            AnnotationError: The file has no usable row.
        """
        for parsed in usable_rows(path, rows, self.bad_rows, expected):
            self._add(*parsed)

    def _add(self, row: FoldRow, line: Line) -> None:
        key = row.clip.key
        clip = self._clips.setdefault(key, row.clip)
        if clip != row.clip:
            self.bad_rows.append(
                line.bad(f"clip {key!r} is another one in an earlier row: {clip.source_id!r}")
            )
            return
        _, first = self._rows.setdefault((key, row.fold), (row, line))
        if first is not line:
            self.bad_rows.append(
                line.bad(
                    f"duplicate clip {key!r} in fold {row.fold}: row {first.row} of {first.file} "
                    "is kept"
                )
            )


def _placed(clip: Clip, roles: dict[int, str]) -> Clip:
    subsets = tuple(f"fold{fold}_{roles[fold]}" for fold in sorted(roles))
    return replace(clip, split=roles.get(1, UNASSIGNED), subsets=subsets)
