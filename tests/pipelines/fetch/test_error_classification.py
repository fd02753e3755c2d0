"""Test the classification of the messages that the installed yt-dlp produces.

YouTube's playability statuses, as its player API returns them, are fed to yt-dlp's own extractor,
so the messages are those of the installed version.
"""

import errno

import pytest
from yt_dlp import YoutubeDL
from yt_dlp.extractor.youtube import YoutubeIE
from yt_dlp.networking.exceptions import IncompleteRead, SSLError, TransportError
from yt_dlp.utils import ContentTooShortError, GeoRestrictedError, YoutubeDLError

from avstore.manifests.verdicts import EXTRACTED_AGAIN, POLICIES, Verdict
from avstore.pipelines.fetch.error_classification import RULES, classify, classify_os_error
from avstore.pipelines.fetch.ytdlp_worker import error_answer

V = Verdict


def status(
    reason: str, subreason: str | None = None, name: str = "ERROR", **screen: object
) -> dict:
    """Return a playability status as YouTube's player sends it."""
    renderer: dict = {"reason": {"simpleText": reason}}
    if subreason:
        renderer["subreason"] = {"simpleText": subreason}
    error = {"playerErrorMessageRenderer": renderer, **screen}
    return {"status": name, "reason": reason, "errorScreen": error}


YOUTUBE = [
    (status("Private video", "Sign in if you've been granted access to this video",
            "LOGIN_REQUIRED"), V.PRIVATE),
    (status("This video is private. If the owner of this video has granted you access, "
            "please sign in.", name="LOGIN_REQUIRED"), V.PRIVATE),
    (status("Sign in to confirm you’re not a bot", "This helps protect our community. Learn more",
            "LOGIN_REQUIRED"), V.BOT_CHECK),
    (status("Sign in to confirm you're not a bot", name="LOGIN_REQUIRED"), V.BOT_CHECK),
    (status("Video unavailable", "This content isn’t available, try again later."),
     V.RATE_LIMITED),
    (status("This content isn't available, try again later.", name="UNPLAYABLE"),
     V.RATE_LIMITED),
    (status("Video unavailable", "This content isn’t available."), V.NOT_FOUND),
    (status("Please verify", playerCaptchaViewModel={"x": 1}), V.BOT_CHECK),
    (status("Sign in to confirm your age", "This video may be inappropriate for some users.",
            "LOGIN_REQUIRED"), V.AGE_RESTRICTED),
    (status("Video unavailable", "This video has been removed by the uploader"), V.REMOVED),
    (status("Video unavailable", "This video is no longer available because the YouTube account "
            "associated with this video has been terminated."), V.REMOVED),
    (status("Video unavailable", "This video is no longer available because the uploader has "
            "closed their YouTube account."), V.REMOVED),
    (status("This video has been removed for violating YouTube's Terms of Service"), V.REMOVED),
    (status("This video has been removed for violating YouTube's policy on hate speech."),
     V.REMOVED),
    (status("Video unavailable", "This video is no longer available due to a copyright claim by "
            "Some Studio"), V.COPYRIGHT),
    (status("Video unavailable", "This video contains content from SME, who has blocked it in "
            "your country on copyright grounds", "UNPLAYABLE"), V.COPYRIGHT),
    (status("Video unavailable", "This video contains content from UMG, who has blocked it on "
            "copyright grounds", "UNPLAYABLE"), V.COPYRIGHT),
    (status("Video unavailable", "The uploader has not made this video available in your country",
            "UNPLAYABLE"), V.GEO_BLOCKED),
    (status("This video is not available in your country", name="UNPLAYABLE"), V.GEO_BLOCKED),
    (status("Join this channel to get access to members-only content like this video, and other "
            "exclusive perks.", name="UNPLAYABLE"), V.MEMBERS_ONLY),
    (status("This video is available to this channel's members on level: Pal (or any higher "
            "level). Join this channel to get access to members-only content and other exclusive "
            "perks.", name="UNPLAYABLE"), V.MEMBERS_ONLY),
    (status("This video requires payment to watch.", name="UNPLAYABLE"), V.MEMBERS_ONLY),
    (status("This video is only available to Music Premium members", name="UNPLAYABLE"),
     V.MEMBERS_ONLY),
    (status("Premieres in 3 hours", name="LIVE_STREAM_OFFLINE"), V.LIVE),
    (status("This live event will begin in 2 days.", name="LIVE_STREAM_OFFLINE"), V.LIVE),
    (status("This live stream recording is not available.", name="UNPLAYABLE"), V.LIVE),
    (status("Video unavailable"), V.NOT_FOUND),
    (status("This video is not available", name="UNPLAYABLE"), V.NOT_FOUND),
    (status("This video is unavailable"), V.NOT_FOUND),
    (status("The following content is not available on this app.", "Watch on the latest version "
            "of YouTube.", "UNPLAYABLE"), V.UNKNOWN),
]  # fmt: skip


def ytdlp_message(playability: dict, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return yt-dlp's error for a video with this playability status."""
    answer = (None, {}, None, False, [{"playabilityStatus": playability}], None)
    monkeypatch.setattr(YoutubeIE, "_initial_extract", lambda *_: answer)
    options = {"quiet": True, "no_warnings": True, "logger": None}
    with YoutubeDL(options) as ydl, pytest.raises(YoutubeDLError) as caught:
        ydl.extract_info("https://www.youtube.com/watch?v=abcdefghijk", download=False)
    return error_answer(caught.value)["error"]


@pytest.mark.parametrize(("playability", "verdict"), YOUTUBE)
def test_youtubes_playability_statuses(playability, verdict, monkeypatch) -> None:
    message = ytdlp_message(playability, monkeypatch)
    assert "abcdefghijk" in message
    assert classify(message, site_is_youtube=True) is verdict, message


def test_youtubes_rate_limit_is_not_classified_as_a_missing_video(monkeypatch) -> None:
    message = ytdlp_message(YOUTUBE[5][0], monkeypatch)
    assert "rate-limited by YouTube" in message, "yt-dlp has changed its message"
    policy = POLICIES[classify(message)]
    assert (policy.status, policy.pauses_queue, policy.max_attempts) == ("retryable", True, None)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (GeoRestrictedError("This video is not available from your location"), V.GEO_BLOCKED),
        (ContentTooShortError(5, 10), V.CONNECTION),
        (IncompleteRead(5, 10), V.CONNECTION),
        (TransportError("[Errno -2] Name or service not known"), V.DNS),
        (TransportError("[Errno -3] Temporary failure in name resolution"), V.DNS),
        (TransportError("Failed to resolve 'www.youtube.com' ([Errno 8] nodename)"), V.DNS),
        (TransportError("[Errno 111] Connection refused"), V.CONNECTION),
        (TransportError("[Errno 104] Connection reset by peer"), V.CONNECTION),
        (TransportError("The read operation timed out"), V.TIMEOUT),
        (SSLError("EOF occurred in violation of protocol (_ssl.c:1006)"), V.CONNECTION),
        (YoutubeDLError("unable to write data: [Errno 28] No space left on device"), V.DISK_FULL),
        (YoutubeDLError("All player responses are invalid. Your IP is likely being blocked by "
                        "Youtube"), V.BOT_CHECK),
        (YoutubeDLError("[youtube] x: Requested format is not available. Use --list-formats for a "
                        "list of available formats"), V.UNKNOWN),
        (YoutubeDLError("something never heard of"), V.UNKNOWN),
    ],
)  # fmt: skip
def test_other_errors_of_ytdlp(error: YoutubeDLError, verdict: Verdict) -> None:
    assert classify(error_answer(error)["error"]) is verdict


@pytest.mark.parametrize(
    ("status_code", "verdict", "on_youtube"),
    [
        (401, V.PRIVATE, V.UNKNOWN),
        (403, V.PRIVATE, V.UNKNOWN),
        (404, V.NOT_FOUND, V.UNKNOWN),
        (408, V.TIMEOUT, V.TIMEOUT),
        (410, V.REMOVED, V.UNKNOWN),
        (416, V.CONNECTION, V.CONNECTION),
        (429, V.RATE_LIMITED, V.RATE_LIMITED),
        (451, V.COPYRIGHT, V.UNKNOWN),
        (500, V.HTTP_5XX, V.HTTP_5XX),
        (503, V.HTTP_5XX, V.HTTP_5XX),
    ],
)
def test_http_statuses(status_code: int, verdict: Verdict, on_youtube: Verdict) -> None:
    message = f"unable to download video data: HTTP Error {status_code}: Reason"
    assert classify(message) is verdict
    assert classify("Unable to download", status_code) is verdict
    assert classify(message, site_is_youtube=True) is on_youtube


@pytest.mark.parametrize("name", ["timeout", "private-video", "captcha", "copyright"])
def test_names_in_a_message_are_not_classified(name: str) -> None:
    message = f"[generic] {name}: Unable to download webpage: HTTP Error 404: Not Found"
    assert classify(message) is V.NOT_FOUND
    assert classify(f"Unsupported URL: http://127.0.0.1/{name}/{name}.mp4") is V.UNKNOWN


def test_operating_system_errors() -> None:
    assert classify_os_error(OSError(errno.ENOSPC, "No space left on device")) is V.DISK_FULL
    assert classify_os_error(TimeoutError(errno.ETIMEDOUT, "Connection timed out")) is V.TIMEOUT
    assert (
        classify_os_error(ConnectionResetError(errno.ECONNRESET, "Connection reset"))
        is V.CONNECTION
    )
    assert classify_os_error(PermissionError(errno.EACCES, "Permission denied")) is V.UNKNOWN


def test_every_fetch_verdict_has_a_rule_and_no_pattern_occurs_twice() -> None:
    classified = {verdict for _, verdict in RULES} | {V.HTTP_5XX, V.UNKNOWN}
    failed = [v for v in Verdict if POLICIES[v].status in ("gone", "retryable")]
    of_fetch = set(failed) - EXTRACTED_AGAIN
    assert classified == {*of_fetch, V.UNDECODABLE}, "the last for downloads beyond max_bytes"
    assert len({pattern for pattern, _ in RULES}) == len(RULES)
