"""Take clips from the files that a list names; files are used in place and never copied."""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from avstore.manifests.verdicts import Verdict
from avstore.pipelines.fetch.attempt import Stopwatch, failed_result, stored_result
from avstore.pipelines.fetch.download_dir import DownloadedFile
from avstore.pipelines.fetch.error_classification import AttemptError
from avstore.pipelines.fetch.source import FetchResult, MediaRequest


class ListedFilesSource:
    """Every clip whose file exists; each request names its file.

    Args:
        root: The folder that relative paths start from.
    """

    rechecks = True
    tool = "folder"

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def fetch(self, requests: Sequence[MediaRequest]) -> Iterator[FetchResult]:
        """Yield one result per clip in the given order: stored, or absent where it has no file."""
        for request in requests:
            yield self._find(request)

    def _find(self, request: MediaRequest) -> FetchResult:
        stopwatch = Stopwatch.start()
        path = self.root / (request.file or "")
        if problem := _problem(path):
            failure = problem
        elif not os.access(path, os.R_OK):
            message = f"{path} is not readable; check its permissions (chmod +r)"
            failure = AttemptError(Verdict.UNKNOWN, message)
        else:
            file = DownloadedFile(path, whole=True)
            return stored_result(request, file, "", self.tool, stopwatch, charged=False)
        return failed_result(request, failure, self.tool, stopwatch, charged=False)


def _problem(path: Path) -> AttemptError | None:
    """Return why there is no file at `path`, or None."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return AttemptError(Verdict.NOT_IN_SOURCE, f"{path} does not exist")
    except (OSError, ValueError) as error:  # a link in a circle, a closed folder, a NUL
        reason = getattr(error, "strerror", None) or error
        return AttemptError(Verdict.UNKNOWN, f"{path} cannot be used: {reason}")
    if stat.S_ISREG(mode):
        return None
    what = "is a folder" if stat.S_ISDIR(mode) else "is no regular file"
    return AttemptError(Verdict.NOT_IN_SOURCE, f"{path} {what}")
