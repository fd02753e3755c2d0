"""Errors that are the user's to mend: one line, no traceback, exit code 2."""


class UserError(Exception):
    """What was wrong, the value, and what to do about it, in one line."""
