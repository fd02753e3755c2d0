"""Classify the error messages of yt-dlp, YouTube, FFmpeg and Python as verdicts.

`RULES` is read from top to bottom and the first match counts. Its patterns follow the wording of
yt-dlp and of the playability reasons it passes on from YouTube, of FFmpeg, and of Python's network
and file errors. A message that no rule matches is `unknown`.
"""

import errno
import re

from avstore.manifests.redact import redact
from avstore.manifests.verdicts import Verdict

V = Verdict


class AttemptError(Exception):
    """A failed attempt.

    Attributes:
        verdict: The class of the failure.
        message: The whole error message.
        retry_after_s: Seconds that the server asked to wait, or None.
    """

    def __init__(self, verdict: Verdict, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.verdict = verdict
        self.message = message
        self.retry_after_s = retry_after_s


#: The message for a download that was stopped at `max_bytes`.
TOO_LARGE = "refused: the download exceeds max_bytes"

#: (pattern, verdict). Rate limits and bot checks come first: they must never be classified as a
#: missing video.
RULES: tuple[tuple[str, Verdict], ...] = (
    # -- the whole session, not one video
    (r"content isn't available,? (please )?try again later", V.RATE_LIMITED),
    (r"has been rate-limited by youtube", V.RATE_LIMITED),
    (r"too many requests|rate[- ]limit(ed)? (exceeded|reached)|slow ?down\b", V.RATE_LIMITED),
    (r"sign in to confirm (that )?you're not a bot", V.BOT_CHECK),
    (r"captcha|unusual traffic|automated queries", V.BOT_CHECK),
    (r"your ip is likely being blocked", V.BOT_CHECK),
    (r"login required by the (website|server) \(bot", V.BOT_CHECK),
    # -- this machine
    (r"no space left on device|disk quota exceeded|errno 28\b|errno 122\b", V.DISK_FULL),
    # A file that reached max_bytes; FFmpeg is ended by SIGXFSZ then.
    (r"exceeds max_bytes|file too large|errno 27\b|ffmpeg exited with code -25\b", V.UNDECODABLE),
    # -- the video: access
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
    # -- the video: not available (yet, or any more)
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
    (r"is at the private address", V.NOT_FOUND),
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

_COMPILED = tuple((re.compile(pattern), verdict) for pattern, verdict in RULES)
_HTTP_STATUS = re.compile(
    r"http error (\d{3})|server returned (\d{3})|status[ _]?(?:code)?[:= ]+(\d{3})"
)
#: Verdicts of HTTP statuses below 500 on an ordinary server.
_STATUS_VERDICTS: dict[int, Verdict] = {
    401: V.PRIVATE,
    402: V.PRIVATE,
    403: V.PRIVATE,
    404: V.NOT_FOUND,
    408: V.TIMEOUT,
    410: V.REMOVED,
    416: V.CONNECTION,
    451: V.COPYRIGHT,
}
#: Text chosen by users that may contain a rule's words: the id after the extractor, and URLs.
_NAMES = re.compile(r"^\s*\[[\w:+-]+\] [^\s:]*:|https?://\S+")
_ERRNO_VERDICTS: dict[int, Verdict] = {
    errno.ENOSPC: V.DISK_FULL,
    errno.EDQUOT: V.DISK_FULL,
    errno.ETIMEDOUT: V.TIMEOUT,
}


def classify(message: str, status: int | None = None, site_is_youtube: bool = False) -> Verdict:
    """Return the verdict of an error message.

    Args:
        message: The whole message.
        status: The HTTP status, where the tool reports it; otherwise it is read from `message`.
        site_is_youtube: Whether YouTube refused the request. There a refused media URL is stale
            or lacks a token and says nothing about the video, so the verdict is `unknown`.
    """
    text = _NAMES.sub(" ", message.replace("’", "'").lower())
    status = status or _http_status(text)
    if status in (429, 509):
        return V.RATE_LIMITED
    for pattern, verdict in _COMPILED:
        if pattern.search(text):
            return verdict
    return _classify_status(status, site_is_youtube) if status else V.UNKNOWN


def classify_os_error(error: OSError) -> Verdict:
    """Return the verdict of a failed system call."""
    return _ERRNO_VERDICTS.get(error.errno or 0) or classify(error_text(error))


def error_text(error: BaseException | None) -> str:
    """Return an exception as 'Type: message', without credentials."""
    return redact(f"{type(error).__name__}: {error}")


def _http_status(text: str) -> int | None:
    found = _HTTP_STATUS.search(text)
    return int(next(group for group in found.groups() if group)) if found else None


def _classify_status(status: int, site_is_youtube: bool) -> Verdict:
    if status >= 500:
        return V.HTTP_5XX
    if site_is_youtube and status not in (408, 416):
        return V.UNKNOWN
    return _STATUS_VERDICTS.get(status, V.UNKNOWN)
