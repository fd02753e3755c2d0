"""Which clips a page shows: parsed from its address, written as address, SQL and loader code."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from avstore.manifests.nearest import did_you_mean
from avstore.manifests.store import StoreError
from avstore.manifests.streams import sql_literal
from avstore.pipelines.browse.facts import KINDS, MANIFEST_SELECT, MEASURES, equals

PAGE_CLIPS = 50
LAST_PAGE = 400  # beyond it, a narrower selection is quicker to look through
CHOICES = (*KINDS, "label", "task")
"""Facets of named values."""
SORTS = {"": "annotation order", "random": "random", **{k: v[0] for k, v in MEASURES.items()}}
_LONGEST = 20_000  # characters of a text or a query
_LARGEST = 3.4e38  # of a FLOAT


@dataclass(frozen=True)
class Selection:
    """Clips, by facets that all must hold; of a facet, any of its values.

    Attributes:
        values: Chosen values by facet; '' is a missing value.
        ranges: Lowest and highest value (both included) by measure; None: no bound.
        text: Text to find in clip ids, labels and captions.
        sql: A SELECT that returns a column clip_id.
        sort: Key of SORTS; with `-` in front, largest first.
        page: Number of the page, from 1.
    """

    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    ranges: tuple[tuple[str, float | None, float | None], ...] = ()
    text: str = ""
    sql: str = ""
    sort: str = ""
    page: int = 1

    def of(self, facet: str) -> tuple[str, ...]:
        """Return the chosen values of a facet."""
        return dict(self.values).get(facet, ())

    def bounds(self, measure: str) -> tuple[float | None, float | None]:
        """Return the chosen bounds of a measure."""
        found = next((r for r in self.ranges if r[0] == measure), None)
        return (found[1], found[2]) if found else (None, None)

    def without(self, facet: str) -> "Selection":
        """Return the selection without a facet: what its counts refer to."""
        return replace(
            self,
            values=tuple(item for item in self.values if item[0] != facet),
            ranges=tuple(item for item in self.ranges if item[0] != facet),
            page=1,
        )

    def toggled(self, facet: str, value: str) -> "Selection":
        """Return the selection with a value of a facet added, or removed."""
        held = self.of(facet)
        new = tuple(v for v in held if v != value) if value in held else (*held, value)
        rest = self.without(facet)
        return replace(rest, values=(*rest.values, (facet, new))) if new else rest

    def pairs(self) -> list[tuple[str, str]]:
        """Return the parameters of its address."""
        found = [(facet, value) for facet, values in self.values for value in values]
        for name, low, high in self.ranges:
            found += [(f"min_{name}", _number(low))] if low is not None else []
            found += [(f"max_{name}", _number(high))] if high is not None else []
        given = {"q": self.text, "sql": self.sql, "sort": self.sort}
        found += [(name, value) for name, value in given.items() if value]
        return found + ([("page", str(self.page))] if self.page > 1 else [])

    @property
    def query(self) -> str:
        """The query string of its address, with its `?`; empty for all clips."""
        return f"?{urlencode(self.pairs())}" if self.pairs() else ""

    def address(self, **changes: object) -> str:
        """Return the query string of the selection with other text, sql, sort or page."""
        changed = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]
        return changed.query or "?"

    @property
    def of_facts(self) -> list[str]:
        """Conditions on columns that the facts have too."""
        found = [equals(name, values) for name, values in self.values if name in KINDS]
        for name, low, high in self.ranges:
            found += [f"{name} >= {_bound(low)}"] if low is not None else []
            found += [f"{name} <= {_bound(high)}"] if high is not None else []
        return found

    @property
    def of_clips(self) -> list[str]:
        """Conditions on columns of clips."""
        found = [_has_label(values) for name, values in self.values if name == "label"]
        found += [_in_task(values) for name, values in self.values if name == "task"]
        found += [_has_text(self.text)] if self.text else []
        return found + ([f"clip_id IN (SELECT clip_id FROM ({self.sql}\n))"] if self.sql else [])

    def to_sql(self) -> str:
        """Return the query of the manifest that selects the same clips."""
        conditions = self.of_facts + self.of_clips
        where = "\nWHERE " + "\n  AND ".join(conditions) if conditions else ""
        return MANIFEST_SELECT + where

    def to_code(self, store: str) -> str:
        """Return Python code that loads the stored clips of the selection."""
        stages = self.of("stage")
        recipe = f"    recipe={stages[0]!r},\n" if len(stages) == 1 and stages[0] else ""
        stored = self if self.of("status") else self.toggled("status", "stored")
        quoted = stored.to_sql().replace("\\", "\\\\").replace('"', '\\"')
        return (
            "from avstore import BatchSpec, Loader, open_store, sample_list\n\n"
            f"store = open_store({store!r})\n"
            f'samples = sample_list(\n    store,\n    """\n{quoted}\n""",\n{recipe})\n'
            "loader = Loader(samples, BatchSpec(batch_size=8), seed=0)\n"
        )


def parse(pairs: Iterable[tuple[str, str]]) -> Selection:
    """Return the selection of an address.

    Raises:
        StoreError: A parameter is unknown or has no such value.
    """
    values: dict[str, dict[str, None]] = {}
    bounds: dict[str, dict[str, float]] = {}
    texts: dict[str, str] = {}
    for name, value in pairs:
        if name in CHOICES:
            values.setdefault(name, {})[value] = None
        elif name[:4] in ("min_", "max_") and name[4:] in MEASURES:
            if value.strip():
                bounds.setdefault(name[4:], {})[name[:3]] = _parse_number(name, value)
        elif name in ("q", "sql", "sort", "page"):
            texts[name] = value
        else:
            known = (*CHOICES, *(f"min_{m}" for m in MEASURES), "q", "sql", "sort", "page")
            raise StoreError(f"{name!r} is no part of a selection{did_you_mean(name, known)}")
    chosen = tuple((name, tuple(found)) for name, found in values.items())
    ranges = tuple((name, b.get("min"), b.get("max")) for name, b in bounds.items())
    return _with_texts(Selection(chosen, ranges), texts)


def _with_texts(selection: Selection, texts: Mapping[str, str]) -> Selection:
    """Return the selection with text, query, sort and page of an address."""
    text, sql = texts.get("q", "").strip(), texts.get("sql", "").strip().rstrip(";").strip()
    if max(len(text), len(sql)) > _LONGEST:
        raise StoreError(f"a query has at most {_LONGEST} characters")
    sort = texts.get("sort", "")
    if sort.removeprefix("-") not in SORTS:
        known = ", ".join(filter(None, SORTS))
        raise StoreError(f"sort={sort!r} is not one of {known} (largest first: -{known[:8]}…)")
    page = texts.get("page", "1")
    if not re.fullmatch("[0-9]{1,9}", page) or not 1 <= int(page) <= LAST_PAGE:
        raise StoreError(f"page={page!r} is not a number from 1 to {LAST_PAGE}; narrow the search")
    return replace(selection, text=text, sql=sql, sort=sort, page=int(page))


def _parse_number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise StoreError(f"{name}={value!r} is not a number")
    return number


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"


def _bound(value: float) -> str:
    """Return a bound as the measures are kept, so that a measured value is within itself."""
    return f"{_number(max(-_LARGEST, min(value, _LARGEST)))}::FLOAT"


def _has_label(labels: tuple[str, ...]) -> str:
    named = [label for label in labels if label]
    parts = [f"list_has_any(labels, {sql_literal(named)})"] if named else []
    parts += ["len(coalesce(labels, [])) = 0"] if "" in labels else []
    return f"({' OR '.join(parts)})"


def _in_task(tasks: tuple[str, ...]) -> str:
    """Return the condition of tasks, each written as `<stream>/<task>/<role>`."""
    name = "stream || '/' || task || '/' || role"
    return f"clip_id IN (SELECT clip_id FROM task_clips WHERE {name} IN {_listed(tasks)})"


def _listed(values: tuple[str, ...]) -> str:
    return f"({', '.join(sql_literal(value) for value in values)})"


def _has_text(text: str) -> str:
    found = f"lower({sql_literal(text)})"
    parts = (
        f"contains(lower({column}), {found})"
        for column in ("clip_id", "array_to_string(labels, ' ')", "array_to_string(captions, ' ')")
    )
    return f"({' OR '.join(parts)})"
