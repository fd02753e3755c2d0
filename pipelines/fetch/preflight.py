"""Looks before the first request: can this machine fetch, and keep, what is asked for?"""

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

from avstore.pipelines.fetch.options import FetchOptions
from avstore.pipelines.fetch.source import MachineError, SourceError

_LOG = logging.getLogger(__name__)
#: Bytes of a ten-second clip of at most 360 lines, with sound, as a rule.
CLIP_BYTES = 800_000
_YTDLP_STALE_DAYS = 60
_CONNECT_S = 10.0
_HOSTS = 5
_JS_RUNTIMES = ("deno", "node", "bun", "qjs")


@dataclass(frozen=True)
class Finding:
    """Something that stops a run or will trouble it, and what to do.

    level: error (what was asked for is wrong), machine (this machine cannot, now), warning.
    """

    level: Literal["error", "machine", "warning"]
    message: str


def check_web(
    addresses: Sequence[str], clips: int, folder: Path, options: FetchOptions
) -> list[Finding]:
    """Everything worth knowing before `clips` clips are fetched into `folder`.

    addresses: of clips; one of the first few hosts has to answer.
    """
    return [
        *check_folder(folder, clips * CLIP_BYTES, options.min_free_bytes),
        *_check_cookies(options),
        *check_ytdlp_age(version("yt-dlp"), date.today()),
        *_check_javascript(addresses),
        *check_network(addresses, options),
    ]


def raise_or_warn(findings: Iterable[Finding]) -> None:
    """Log the warnings. Raises SourceError with every error, else MachineError with every lack."""
    found = list(findings)
    for finding in found:
        if finding.level == "warning":
            _LOG.warning("%s", finding.message)
    if errors := [finding.message for finding in found if finding.level == "error"]:
        raise SourceError("; ".join(errors))
    if lacks := [finding.message for finding in found if finding.level == "machine"]:
        raise MachineError("; ".join(lacks))


def check_folder(folder: Path, estimate: int, min_free: int) -> list[Finding]:
    """Whether `folder` can be written and has room for `estimate` bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe.", suffix=".tmp"):
            pass
    except OSError as error:
        text = f"{folder} cannot be written ({error.strerror}); choose another STORE"
        return [Finding("machine", text)]
    free = shutil.disk_usage(folder).free
    if free < min_free:
        text = (
            f"only {free / 1e9:.2f} GB are free at {folder}, and {min_free / 1e9:.2f} GB are to be "
            "kept free; free some space or choose another STORE"
        )
        return [Finding("machine", text)]
    if free - min_free < estimate:
        text = (
            f"about {estimate / 1e9:.1f} GB may be needed and {free / 1e9:.1f} GB are free at "
            f"{folder}; fetching will stop in time, and can go on when there is more"
        )
        return [Finding("warning", text)]
    return []


def check_network(addresses: Sequence[str], options: FetchOptions) -> list[Finding]:
    """Whether one of the first few hosts can be reached (not asked where a proxy is set)."""
    if options.proxy or options.ytdlp.get("proxy") or getproxies():
        return []
    hosts: dict[tuple[str, int], None] = {}
    for address in addresses:
        parts = urlsplit(address)
        if parts.hostname:
            hosts[parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)] = None
        if len(hosts) >= _HOSTS:
            break
    failures = []
    for host, port in hosts:
        try:
            with socket.create_connection((host, port), timeout=_CONNECT_S):
                return []
        except OSError as error:
            failures.append(f"{host}: {error.strerror or error}")
    if not failures:
        return []
    text = (
        f"no network, or none of the hosts answers ({'; '.join(failures)}); check the connection, "
        "or set a proxy, or give a folder or an archive as SOURCE"
    )
    return [Finding("machine", text)]


def check_ytdlp_age(installed: str, today: date) -> list[Finding]:
    """A yt-dlp of some months ago can rarely read today's YouTube."""
    try:
        year, month, day = (int(part) for part in installed.split(".")[:3])
        age = (today - date(year, month, day)).days
    except ValueError:
        return []
    if age <= _YTDLP_STALE_DAYS:
        return []
    text = f"yt-dlp {installed} is {age} days old; update it first (pip install -U yt-dlp)"
    return [Finding("warning", text)]


def _check_cookies(options: FetchOptions) -> list[Finding]:
    path = options.cookies_file
    if path is None or os.access(path, os.R_OK):
        return []
    return [Finding("error", f"the cookies file {path} does not exist or may not be read")]


def _check_javascript(addresses: Sequence[str]) -> list[Finding]:
    """YouTube hides its media addresses behind scripts that yt-dlp has to run."""
    if not any("youtube.com" in address for address in addresses[:_HOSTS]):
        return []
    if any(map(shutil.which, _JS_RUNTIMES)) or find_spec("deno"):
        return []
    text = (
        "no JavaScript runtime is installed (deno, node, bun): YouTube will offer few formats or "
        "none; pip install deno"
    )
    return [Finding("warning", text)]
