"""What failed, in one line for the person who reads it."""

import errno


def machine_words(error: OSError) -> str:
    """Where, what, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    todo = "; free some space and run the same command again" * (error.errno == errno.ENOSPC)
    return f"{where}{error.strerror or error}{todo}"


def first_sentence(error: BaseException) -> str:
    """Of libraries that go on for paragraphs, some with advice that is not ours."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ", 1)[0]
