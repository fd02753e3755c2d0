"""Check before the first request that this machine can fetch and store the clips."""

import logging
import os
import shutil
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

from avstore.pipelines.fetch.address_guard import PrivateAddressError, connect
from avstore.pipelines.fetch.source import FetchOptions, MachineError, SourceError

_LOG = logging.getLogger(__name__)
#: Typical size of a ten-second clip of at most 360 lines with audio, in bytes.
CLIP_BYTES = 800_000
_YTDLP_STALE_DAYS = 60
_CONNECT_TIMEOUT_S = 10.0
_MAX_HOSTS = 5
_JS_RUNTIMES = ("deno", "node", "bun", "qjs")


@dataclass(frozen=True)
class Finding:
    """A problem found by a check.

    Attributes:
        level: 'error' (the command is wrong), 'machine' (this machine cannot fetch now) or
            'warning' (fetching may fail or stop).
        message: What is wrong and what to do.
    """

    level: Literal["error", "machine", "warning"]
    message: str


def check_web(
    urls: Sequence[str], clips: int, folder: Path, options: FetchOptions
) -> list[Finding]:
    """Run every check before clips are fetched from the web.

    Args:
        urls: URLs of the first clips; one of their hosts has to answer.
        clips: Number of clips to fetch.
        folder: Where the clips are stored.
        options: How to fetch.
    """
    return [
        *check_folder(folder, clips * CLIP_BYTES, options.min_free_bytes),
        *_check_cookies(options),
        *check_ytdlp_age(version("yt-dlp"), date.today()),
        *_check_javascript(urls),
        *check_network(urls, options),
    ]


def raise_or_warn(findings: Iterable[Finding]) -> None:
    """Log the warnings and raise the rest.

    Raises:
        SourceError: There are findings of level 'error'; the message holds all of them.
        MachineError: There are none, but findings of level 'machine'.
    """
    found = list(findings)
    for finding in found:
        if finding.level == "warning":
            _LOG.warning("%s", finding.message)
    if errors := [finding.message for finding in found if finding.level == "error"]:
        raise SourceError("; ".join(errors))
    if problems := [finding.message for finding in found if finding.level == "machine"]:
        raise MachineError("; ".join(problems))


def check_folder(folder: Path, estimate: int, min_free: int) -> list[Finding]:
    """Check that `folder` is writable and has space for `estimate` bytes beside `min_free`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe.", suffix=".tmp"):
            pass
    except OSError as error:
        text = f"{folder} is not writable ({error.strerror}); choose another STORE"
        return [Finding("machine", text)]
    free = shutil.disk_usage(folder).free
    if free < min_free:
        text = (
            f"{folder} has {free / 1e9:.2f} GB of free space, less than min_free_bytes "
            f"({min_free / 1e9:.2f} GB); free some space or choose another STORE"
        )
        return [Finding("machine", text)]
    if free - min_free < estimate:
        text = (
            f"the clips need about {estimate / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB of "
            "free space; fetching stops before the disk is full and continues in the next run"
        )
        return [Finding("warning", text)]
    return []


def check_network(urls: Sequence[str], options: FetchOptions) -> list[Finding]:
    """Check that one of the first few hosts accepts a connection; skipped behind a proxy."""
    if options.proxy or options.ytdlp.get("proxy") or getproxies():
        return []
    hosts: dict[tuple[str, int], None] = {}
    for url in urls:
        parts = urlsplit(url)
        if parts.hostname:
            hosts[parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)] = None
        if len(hosts) >= _MAX_HOSTS:
            break
    failures = []
    for host, port in hosts:
        try:
            with connect(host, port, None, _CONNECT_TIMEOUT_S, options.allow_private):
                return []
        except PrivateAddressError:
            continue  # the clip's attempt says so
        except OSError as error:
            failures.append(f"{host}: {error.strerror or error}")
    if not failures:
        return []
    text = (
        f"none of the hosts can be reached ({'; '.join(failures)}); check the network, set a "
        "proxy, or give a folder or an archive as source"
    )
    return [Finding("machine", text)]


def check_ytdlp_age(installed: str, today: date) -> list[Finding]:
    """Check yt-dlp's release date: YouTube changes too often for an old one."""
    try:
        year, month, day = (int(part) for part in installed.split(".")[:3])
        age = (today - date(year, month, day)).days
    except ValueError:
        return []
    if age <= _YTDLP_STALE_DAYS:
        return []
    text = f"yt-dlp {installed} is {age} days old; update it (pip install -U yt-dlp)"
    return [Finding("warning", text)]


def _check_cookies(options: FetchOptions) -> list[Finding]:
    path = options.cookies_file
    if path is None or os.access(path, os.R_OK):
        return []
    return [
        Finding("error", f"the cookies file {path} is missing or unreadable; check cookies_file")
    ]


def _check_javascript(urls: Sequence[str]) -> list[Finding]:
    """Check for a JavaScript runtime, which yt-dlp needs to compute YouTube's media URLs."""
    if not any("youtube.com" in url for url in urls[:_MAX_HOSTS]):
        return []
    if any(map(shutil.which, _JS_RUNTIMES)) or find_spec("deno"):
        return []
    text = (
        "no JavaScript runtime (deno, node, bun) is installed, so YouTube offers few formats or "
        "none; install one (pip install deno)"
    )
    return [Finding("warning", text)]
