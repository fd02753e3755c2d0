"""The lock that allows one writer per store, and a note of who holds it."""

import fcntl
import getpass
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from avstore.manifests.store import Store, StoreError, refuse_links, remove


class StoreBusyError(StoreError):
    """Another process is writing to the store."""


def describe_holder(facts: Mapping[str, Any]) -> str:
    """Return who holds a lock in words, from the facts that `current_holder` returns."""
    with suppress(KeyError):
        user = f" of {facts['user']}" if facts.get("user") else ""
        return (
            f"process {facts['pid']} on {facts['host']}{user} ({facts['command']}), "
            f"since {facts['since']}"
        )
    return "another process"


def _holder(note: Path) -> str:
    return describe_holder(_facts(note))


def _facts(note: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        facts = json.loads(note.read_text())
        return facts if isinstance(facts, dict) else {}
    return {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _note(store: Store) -> Path:
    """Return the note of the lock's holder, which a killed writer leaves."""
    return store.lock.with_suffix(".holder")


def _held(store: Store) -> bool:
    """Return whether a process holds the lock, which is taken for a moment to find out."""
    try:
        handle = os.open(store.lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def current_writer(store: Store) -> str | None:
    """Return who is writing to the store, in words; None if nobody is."""
    note = _note(store)
    return _holder(note) if note.is_file() and _held(store) else None


def current_holder(store: Store) -> dict[str, Any] | None:
    """Return who is writing to the store: pid, host, user, command, since; None if nobody is."""
    return _facts(_note(store)) or None if _held(store) else None


def killed_writer(store: Store) -> str | None:
    """Return which process was killed while it wrote to the store, in words; None if none was."""
    note = _note(store)
    return _holder(note) if note.is_file() and not _held(store) else None


@contextmanager
def writing(store: Store, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the store's write lock. The operating system releases it when the process ends.

    Args:
        store: The store's paths.
        wait_s: Seconds to wait for another writer; negative waits without limit.

    Raises:
        StoreBusyError: Another writer still holds the lock; the message names it.
        StoreError: A folder of the store is a link that leads out of it.
    """
    refuse_links(store)
    note = _note(store)
    for path in (store.lock, note):
        if path.is_dir():  # no lock of anybody: put there by mistake or by a damaged file system
            remove(path)
    lock = FileLock(store.lock)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise StoreBusyError(
            f"the store {store.root} is being written by {_holder(note)}; "
            "wait for it (--wait SECONDS), or stop it"
        ) from None
    try:
        facts = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "user": _user(),
            "command": " ".join(Path(word).name for word in sys.argv[:3]),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        note.unlink(missing_ok=True)  # it may be a link to another file
        with note.open("x") as file:
            file.write(json.dumps(facts))
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()
