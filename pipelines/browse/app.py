"""The pages by address."""

import io
import logging
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from avstore.manifests.commands import short_path
from avstore.manifests.path_text import printable_text
from avstore.manifests.sealed import parquet_bytes
from avstore.manifests.store import StoreError
from avstore.pipelines.browse import gallery, overview
from avstore.pipelines.browse.access import Access, Guard
from avstore.pipelines.browse.clip_facts import clip_facts, found_events, measured
from avstore.pipelines.browse.facts import KINDS, MEASURES
from avstore.pipelines.browse.layouts import DamagedError
from avstore.pipelines.browse.live import live_state
from avstore.pipelines.browse.media_routes import MediaRoutes, channels_or_none
from avstore.pipelines.browse.neighbours import nearest
from avstore.pipelines.browse.pages import STATIC, environment, static_text
from avstore.pipelines.browse.plots import losses_plot, matrix_cells
from avstore.pipelines.browse.selection import PAGE_CLIPS, SORTS, Selection, parse
from avstore.pipelines.browse.session import Session
from avstore.pipelines.browse.training import RunLibrary

_LOG = logging.getLogger("avstore")
_OPEN = ("dataset", "status", "split", "label")  # facets that are open at first


def create_app(session: Session, access: Access, runs: RunLibrary | None) -> ASGIApp:
    """Return the application.

    Args:
        session: The store.
        access: What a request needs.
        runs: Training runs to show, or None.
    """
    pages = _Pages(session, runs)
    media = MediaRoutes(session)
    routes = [
        Route("/", pages.overview),
        Route("/live", pages.live),
        Route("/clips", pages.clips),
        Route("/facet/{name}", pages.facet),
        Route("/export.{form}", pages.export),
        Route("/clip/{dataset}/{key}", pages.clip),
        Route("/near/{dataset}/{key}", pages.near),
        Route("/classes", pages.classes),
        Route("/streams", pages.streams),
        Route("/streams/{name}", pages.stream),
        Route("/runs", pages.runs),
        Route("/runs/{name:path}", pages.run),
        Route("/static/{name}", _static),
        *media.routes(),
    ]
    handlers = {StoreError: pages.failed, DamagedError: _damaged, HTTPException: pages.failed}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), access)  # type: ignore[arg-type]


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        raise HTTPException(404, f"there is no file {name}")
    return Response(static_text(name), media_type=STATIC[name])


def _damaged(_: Request, error: Exception) -> Response:
    return PlainTextResponse(printable_text(f"damaged: {error}; run avstore verify\n"), 422)


class _Pages:
    """The pages of one store."""

    def __init__(self, session: Session, runs: RunLibrary | None) -> None:
        self._session = session
        self._runs = runs
        self._templates = environment()
        self._templates.globals |= {
            "store": short_path(session.store.url),
            "has_runs": runs is not None,
            "sections": _sections(runs is not None),
        }

    def _page(self, template: str, /, status: int = 200, **values: Any) -> Response:
        return HTMLResponse(self._templates.get_template(template).render(**values), status)

    def failed(self, request: Request, error: Exception) -> Response:
        """Answer an error of the request in one sentence."""
        status = error.status_code if isinstance(error, HTTPException) else 400
        message = error.detail if isinstance(error, HTTPException) else str(error)
        return self._page("error.html", status=status, section="", message=message)

    def overview(self, _: Request) -> Response:
        """Show the store as a whole."""
        with self._session.using() as snapshot:
            page = self._page(
                "overview.html",
                section="/",
                datasets=overview.datasets(snapshot),
                summaries=overview.summaries(snapshot),
                failures=overview.failures_by_day(snapshot),
                live=live_state(self._session.store.paths),
            )
        page.background = BackgroundTask(self._prepare)
        return page

    def _prepare(self) -> None:
        """Fill the tables of facets, which takes seconds for millions of clips."""
        try:
            with self._session.using() as snapshot:
                snapshot.facts.prepare()
        except StoreError:
            _LOG.debug("the facets could not be prepared", exc_info=True)  # the clips page says it

    def live(self, _: Request) -> Response:
        """Show the running build alone; the overview loads it again and again."""
        return self._page("live.html", live=live_state(self._session.store.paths))

    def clips(self, request: Request) -> Response:
        """Show the clips of a selection, or the rows of a query that selects none."""
        selection = _selection(request)
        with self._session.using() as snapshot:
            if selection.sql and "clip_id" not in gallery.columns_of(snapshot, selection.sql):
                columns, rows, more = gallery.table_of(snapshot, selection.sql)
                return self._page(
                    "rows.html", section="/clips", selection=selection, columns=columns,
                    rows=rows, more=more,
                )  # fmt: skip
            page = gallery.gallery(snapshot, selection)
            return self._page(
                "clips.html",
                section="/clips",
                selection=selection,
                page=page,
                last=max(1, -(-page.total // PAGE_CLIPS)),
                facets=[(name, name in _OPEN) for name in (*KINDS, "label", "task")],
                measures=MEASURES,
                sorts=SORTS,
                code=selection.to_code(self._session.store.url),
            )

    def facet(self, request: Request) -> Response:
        """Show the counts of one facet."""
        name, selection = request.path_params["name"], _selection(request)
        fragment = request.headers.get("x-fragment") == "1"
        values: dict[str, Any] = {"section": "/clips", "selection": selection, "name": name}
        with self._session.using() as snapshot:
            if name in MEASURES:
                values["histogram"] = gallery.histogram(snapshot, selection, name)
                values["measure"] = MEASURES[name]
            elif name in (*KINDS, "label", "task"):
                values["counts"] = gallery.value_counts(snapshot, selection, name)
            else:
                raise StoreError(f"there is no facet {name!r}")
        return self._page("facet.html" if fragment else "facet_page.html", **values)

    def export(self, request: Request) -> Response:
        """Return the clip ids of a selection as a file."""
        selection, form = _selection(request), request.path_params["form"]
        if form not in ("csv", "parquet"):
            raise HTTPException(404, "the formats are csv and parquet")
        with self._session.using() as snapshot:
            table = gallery.export_table(snapshot, selection)
        content = parquet_bytes(table) if form == "parquet" else _csv(table)
        kind = "application/vnd.apache.parquet" if form == "parquet" else "text/csv; charset=utf-8"
        return Response(
            content,
            media_type=kind,
            headers={"Content-Disposition": f'attachment; filename="clips.{form}"'},
        )

    def clip(self, request: Request) -> Response:
        """Show one clip."""
        clip_id, stage = _clip_id(request), request.query_params.get("stage")
        with self._session.using() as snapshot:
            facts = clip_facts(snapshot, clip_id)
            stored = [row["stage"] for row in facts.stages if row["shard"]]
            if stage is not None and stage not in [row["stage"] for row in facts.stages]:
                raise StoreError(f"{clip_id} has no recipe {stage!r}")
            shown = stage if stage in stored else next(iter(stored), None)
            layout = snapshot.layout(clip_id, shown) if shown else None
            damage = layout.damage(snapshot.store.reader) if layout else None
            channels = channels_or_none(snapshot, layout) if layout and not damage else 0
            return self._page(
                "clip.html",
                section="/clips",
                facts=facts,
                measured=measured,
                stage=shown,
                stored=stored,
                layout=layout,
                damage=damage,
                channels=channels,
                found=found_events(snapshot, clip_id, self._runs),
            )

    def near(self, request: Request) -> Response:
        """Show the clips nearest to a clip."""
        clip_id, feature = _clip_id(request), request.query_params.get("feature", "")
        with self._session.using() as snapshot:
            found = nearest(snapshot, clip_id, feature)
            by_id = snapshot.query(
                "SELECT clip_id, labels, clip_id IN (SELECT clip_id FROM samples) AS stored "
                "FROM clips WHERE clip_id IN (SELECT unnest(?))",
                [[name for name, _ in found.found]],
            ).rows()
            return self._page(
                "near.html", section="/clips", clip_id=clip_id, feature=feature, near=found,
                known={row["clip_id"]: row for row in by_id},
            )  # fmt: skip

    def classes(self, _: Request) -> Response:
        """Show all classes by what they lost."""
        with self._session.using() as snapshot:
            return self._page("classes.html", section="/classes", rows=overview.coverage(snapshot))

    def streams(self, _: Request) -> Response:
        """Show the task streams."""
        with self._session.using() as snapshot:
            return self._page("streams.html", section="/streams", rows=overview.streams(snapshot))

    def stream(self, request: Request) -> Response:
        """Show one task stream."""
        with self._session.using() as snapshot:
            report = overview.stream_report(snapshot, request.path_params["name"])
            return self._page("stream.html", section="/streams", report=report)

    def runs(self, _: Request) -> Response:
        """Show the training runs."""
        rows = self._library().listed()
        names = list(dict.fromkeys(name for run in rows for name in run.scores))
        return self._page("runs.html", section="/runs", rows=rows, scores=names)

    def run(self, request: Request) -> Response:
        """Show one training run."""
        run = self._library().run(request.path_params["name"])
        with self._session.using() as snapshot:
            shown = gallery.of_clips(snapshot, [c.clip_id for c in (*run.best, *run.worst)])
            return self._page(
                "run.html", section="/runs", run=run, plot=losses_plot(run.losses),
                cells=matrix_cells(run.matrix), shown=shown,
            )  # fmt: skip

    def _library(self) -> RunLibrary:
        if self._runs is None:
            raise HTTPException(404, "no training runs are shown; give their folder by --runs")
        return self._runs


def _sections(has_runs: bool) -> list[tuple[str, str]]:
    found = [("/", "Overview"), ("/clips", "Clips"), ("/classes", "Classes"),
             ("/streams", "Streams")]  # fmt: skip
    return [*found, ("/runs", "Runs")] if has_runs else found


def _selection(request: Request) -> Selection:
    return parse(request.query_params.multi_items())


def _clip_id(request: Request) -> str:
    return f"{request.path_params['dataset']}/{request.path_params['key']}"


def _csv(table: pa.Table) -> bytes:
    """Return rows as CSV; labels are separated by `|`."""
    place = table.schema.get_field_index("labels")
    labels = pc.binary_join(table["labels"].combine_chunks(), "|")
    file = io.BytesIO()
    csv.write_csv(table.set_column(place, "labels", labels), file)
    return file.getvalue()
