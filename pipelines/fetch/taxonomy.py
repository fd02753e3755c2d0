"""From a tool's message to a verdict: one table, read from top to bottom, first match counts.

The wording is that of yt-dlp and of what it passes on from YouTube (playability reasons), of
FFmpeg, and of Python's own network and file errors. What no row knows is `unknown`.
"""

import errno
import re

from avstore.manifests.verdicts import Verdict

V = Verdict


class AttemptError(Exception):
    """An attempt that gave no media: the verdict, the whole message, the server's own wish."""

    def __init__(self, verdict: Verdict, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message
        self.retry_after_s = retry_after_s


#: (pattern, verdict). Rate limit and bot check first: they must never look like a lost video.
TABLE: tuple[tuple[str, Verdict], ...] = (
    # -- the session, not the video
    (r"content isn't available,? (please )?try again later", V.RATE_LIMITED),
    (r"has been rate-limited by youtube", V.RATE_LIMITED),
    (r"too many requests|rate[- ]limit(ed)? (exceeded|reached)|slow ?down\b", V.RATE_LIMITED),
    (r"sign in to confirm (that )?you're not a bot", V.BOT_CHECK),
    (r"captcha|unusual traffic|automated queries", V.BOT_CHECK),
    (r"your ip is likely being blocked", V.BOT_CHECK),
    (r"login required by the (website|server) \(bot", V.BOT_CHECK),
    # -- this machine
    (r"no space left on device|disk quota exceeded|errno 28\b|errno 122\b", V.DISK_FULL),
    # -- the video: who may see it
    (r"members[- ]only|join this channel|available to this channel's members", V.MEMBERS_ONLY),
    (r"requires payment|premium members|rent(ing)? or buy|purchase (this|it)", V.MEMBERS_ONLY),
    (r"music premium|only available (to|for) .*(subscribers|registered users)", V.MEMBERS_ONLY),
    (r"confirm your age|age[- ]restricted|age[- ]verification|inappropriate for some users",
     V.AGE_RESTRICTED),
    (r"private video|(video|this) is private|granted you access|login details are needed",
     V.PRIVATE),
    (r"blocked it (on|in your country on) copyright", V.COPYRIGHT),
    (r"copyright|who has blocked it\b(?!.*country)", V.COPYRIGHT),
    (r"not (made )?(this video )?available in your (country|region|location)", V.GEO_BLOCKED),
    (r"blocked it in your country|geo[- ]?restrict|not available from your location",
     V.GEO_BLOCKED),
    # -- the video: not there (yet, any more)
    (r"live (event|stream) (will begin|has ended|recording is not|is offline)|"
     r"premieres? (in|will begin)|is (not )?currently live|this live event|live stream recording",
     V.LIVE),
    (r"has been removed|removed by|account .*(terminated|closed|suspended)|no longer available|"
     r"(uploader|user) has (closed|deleted|not made)|for violating|has been deleted|taken down",
     V.REMOVED),
    (r"does not exist|video (is )?unavailable|video (is )?not available|"
     r"(this )?content isn't available|invalid video id|incomplete youtube id|not a valid video|"
     r"drm protected|has been hidden", V.NOT_FOUND),
    (r"these seconds do not exist", V.NOT_FOUND),
    # -- the network
    (r"name or service not known|nodename nor servname|failure in name resolution|"
     r"failed to resolve|getaddrinfo|name resolution|no address associated", V.DNS),
    (r"timed? ?out|timeout", V.TIMEOUT),
    (r"connection (was )?(reset|refused|aborted|broken|closed)|broken pipe|network is unreachable|"
     r"no route to host|remote end closed|incompleteread|bytes read|more expected|"
     r"downloaded \d+ bytes, expected|content too short|redirect loop|too many redirects|"
     r"ended prematurely|eof occurred|ssl|proxy|certificate|input/output error|end of file|"
     r"server disconnected|unexpected eof|unable to connect|end of the file|"
     r"failed to extract any player response|incomplete (yt initial )?data received",
     V.CONNECTION),
)  # fmt: skip

_COMPILED = tuple((re.compile(pattern), verdict) for pattern, verdict in TABLE)
_HTTP_STATUS = re.compile(
    r"http error (\d{3})|server returned (\d{3})|status[ _]?(?:code)?[:= ]+(\d{3})"
)
#: What a status below 500 says of a file on an ordinary server.
_STATUS: dict[int, Verdict] = {
    401: V.PRIVATE,
    402: V.PRIVATE,
    403: V.PRIVATE,
    404: V.NOT_FOUND,
    408: V.TIMEOUT,
    410: V.REMOVED,
    416: V.CONNECTION,
    451: V.COPYRIGHT,
}
#: What a person may have named anything: the id after the extractor, and addresses.
_NAMES = re.compile(r"^\s*\[[\w:+-]+\] [^\s:]*:|https?://\S+")
_ERRNO: dict[int, Verdict] = {
    errno.ENOSPC: V.DISK_FULL,
    errno.EDQUOT: V.DISK_FULL,
    errno.ETIMEDOUT: V.TIMEOUT,
}


def classify(message: str, status: int | None = None, site_is_youtube: bool = False) -> Verdict:
    """The verdict that a failure's whole message stands for.

    status: the HTTP status, where the tool knows it. site_is_youtube: there, a refused media
    address says nothing of the video (it is stale, or lacks a token), and stays unknown.
    """
    text = _NAMES.sub(" ", message.replace("’", "'").lower())
    status = status or _status_in(text)
    if status in (429, 509):
        return V.RATE_LIMITED
    for pattern, verdict in _COMPILED:
        if pattern.search(text):
            return verdict
    return _of_status(status, site_is_youtube) if status else V.UNKNOWN


def of_os_error(error: OSError) -> Verdict:
    """The verdict of a failed system call."""
    return _ERRNO.get(error.errno or 0) or classify(f"{type(error).__name__}: {error}")


def _status_in(text: str) -> int | None:
    found = _HTTP_STATUS.search(text)
    return int(next(group for group in found.groups() if group)) if found else None


def _of_status(status: int, site_is_youtube: bool) -> Verdict:
    if status >= 500:
        return V.HTTP_5XX
    if site_is_youtube and status not in (408, 416):
        return V.UNKNOWN
    return _STATUS.get(status, V.UNKNOWN)
