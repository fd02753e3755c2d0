"""Collect what FFmpeg's demuxers and decoders report: they go on after most errors and only log."""

from collections.abc import Iterator
from contextlib import contextmanager

import av

_MAX_ERRORS = 1000

DecoderLog = list[tuple[int, str, str]]
"""libav log records: level, demuxer or decoder, message."""


@contextmanager
def record_decoder_log() -> Iterator[DecoderLog]:
    """Collect libav's errors of this thread while open.

    Decoders conceal damaged pictures and return them like any other, and demuxers skip what they
    cannot read; only the log reports them. Repeated messages are collected as well: PyAV would
    leave out one that equals the last message of the clip before.
    """
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_skip_repeated(skips)
        av.logging.set_level(level)


def logged_errors(log: DecoderLog) -> list[str]:
    """Return the errors of a log as text."""
    return [f"{name}: {text.strip()}" for level, name, text in log if level <= av.logging.ERROR]


def decode_errors(log: DecoderLog, exceptions: list[str]) -> tuple[str, ...]:
    """Return the log's errors, or the messages of raised exceptions if the log has none."""
    return tuple((logged_errors(log) or exceptions)[:_MAX_ERRORS])
