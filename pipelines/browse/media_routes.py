"""Frames, sound and members of stored clips by address."""

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from avstore.pipelines.browse import media
from avstore.pipelines.browse.ambisonics import STEP_S, energy_map
from avstore.pipelines.browse.layouts import DamagedError, Layout
from avstore.pipelines.browse.session import Session, Snapshot

_KEPT = {"Cache-Control": "private, max-age=300"}  # so that a filmstrip is read once
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def channels_or_none(snapshot: Snapshot, layout: Layout) -> int:
    """Return the channels of the stored sound; 0 if there is none, or it cannot be decoded."""
    try:
        return media.channels_of(snapshot, layout)
    except DamagedError:
        return 0


class MediaRoutes:
    """Answers requests for what is in the shards.

    Args:
        session: The store.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def routes(self) -> list[Route]:
        """Return the routes; a clip's recipe is the parameter `stage`."""
        made: dict[str, tuple[Callable[[Snapshot, Layout], bytes], str]] = {
            "/poster": (media.poster, "image/jpeg"),
            "/frames": (media.filmstrip, "application/octet-stream"),
            "/spectrogram": (media.spectrogram, "image/png"),
            "/sound": (media.stereo_wav, "audio/wav"),
            "/energy": (_energy, "application/json"),
        }
        found = [
            Route(f"{path}/{{dataset}}/{{key}}", self._made(make, kind))
            for path, (make, kind) in made.items()
        ]
        return [*found, Route("/member/{dataset}/{key}/{suffix}", self._member)]

    def _made(
        self, make: Callable[[Snapshot, Layout], bytes], kind: str
    ) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            with self._session.using() as snapshot:
                content = make(snapshot, _layout(snapshot, request))
            return _ranged(request, content, kind)

        return answer

    def _member(self, request: Request) -> Response:
        """Return a member as it is stored; a download where `download` is given."""
        suffix = request.path_params["suffix"]
        with self._session.using() as snapshot:
            layout = _layout(snapshot, request)
            content = media.read_member(snapshot, layout, suffix)
        kind = media.TYPES.get(suffix.rsplit(".", 1)[-1])
        answer = _ranged(request, content, kind or "application/octet-stream")
        if kind is None or "download" in request.query_params:
            name = quote(layout.ranges[suffix].name, safe="")
            answer.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{name}"
        return answer


def _layout(snapshot: Snapshot, request: Request) -> Layout:
    clip_id = f"{request.path_params['dataset']}/{request.path_params['key']}"
    return snapshot.layout(clip_id, request.query_params.get("stage"))


def _energy(snapshot: Snapshot, layout: Layout) -> bytes:
    samples, rate = media.sound(snapshot, layout)
    try:
        found = energy_map(samples, rate)
    except ValueError as error:
        raise DamagedError(str(error)) from error
    steps, rows, columns = found.shape
    values = base64.b64encode(found.tobytes()).decode()
    facts = {"step": STEP_S, "steps": steps, "rows": rows, "columns": columns, "values": values}
    return json.dumps(facts).encode()


def _ranged(request: Request, content: bytes, kind: str) -> Response:
    """Answer with the content, or with the range of it that a player asks for."""
    headers = {"Accept-Ranges": "bytes", **_KEPT}
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is None or asked[1] == asked[2] == "":
        return Response(content, media_type=kind, headers=headers)
    total = len(content)
    if asked[1]:
        start, stop = int(asked[1]), min(int(asked[2]) + 1, total) if asked[2] else total
    else:
        start, stop = max(0, total - int(asked[2])), total
    if start >= stop:
        return PlainTextResponse("", 416, {"Content-Range": f"bytes */{total}"})
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{total}"
    return Response(content[start:stop], 206, media_type=kind, headers=headers)
