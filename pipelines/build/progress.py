"""Publish the progress of a run as `STORE/.progress.json`, and read it.

The file stays when the run ends, and says how; a run that was killed left it without an outcome.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal

from avstore.manifests.lock import current_holder
from avstore.manifests.sealed import DamagedFileError, json_bytes, read_json
from avstore.manifests.store import Store
from avstore.pipelines.build.meter import Meter, Progress

_PUBLISH_EVERY_S = 1.0

RunState = Literal["running", "done", "failed", "interrupted"]


class PublishedProgress:
    """A `Progress` that also publishes the progress of a run in its store.

    Args:
        store: The store, whose lock the run holds.
        dataset: The run's dataset, if it has one.
        show: The display.
    """

    def __init__(self, store: Store, dataset: str | None, show: Progress) -> None:
        self._path = store.progress
        self._facts = {"dataset": dataset, "writer": current_holder(store)}
        self._show = show
        self._meters: dict[str, Meter] = {}
        self._open: list[str] = []
        self._written = 0.0
        self._lock = threading.Lock()
        self._write(None)

    @contextmanager
    def __call__(self, title: str, total: int, unit: str = "clips") -> Iterator[Meter]:
        """Open a stage; one that was open before goes on."""
        whole = self._meters.setdefault(title, Meter(title, 0, unit, self._publish))
        whole.open(total)
        self._open.append(title)
        self._write(None)
        try:
            with self._show(title, total, unit) as meter:
                meter.whole = whole
                yield meter
        finally:
            whole.close()
            self._open.remove(title)
            self._write(None)

    def end(self, outcome: str) -> None:
        """Publish how the run ended: done, failed or interrupted."""
        self._write(outcome)

    def _publish(self) -> None:
        if time.monotonic() - self._written >= _PUBLISH_EVERY_S:
            self._write(None)

    def _write(self, outcome: str | None) -> None:
        """Replace the file. That it cannot be written ends no build."""
        with self._lock, suppress(OSError):
            facts = {
                **self._facts,
                "stage": self._open[-1] if self._open else None,
                "stages": [meter.facts() for meter in self._meters.values()],
                "updated": datetime.now(UTC).isoformat(timespec="seconds"),
                "outcome": outcome,
            }
            temp = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
            temp.write_bytes(json_bytes(facts))
            temp.replace(self._path)
            self._written = time.monotonic()


def read_progress(store: Store) -> tuple[RunState, Mapping[str, Any]] | None:
    """Return the state and the published progress of the latest run; None if there is none.

    A run without an outcome is running if it is the one that holds the lock; otherwise it was
    killed, and counts as interrupted.
    """
    try:
        facts = read_json(store.progress)
    except DamagedFileError:
        return None
    if facts.get("outcome") in ("done", "failed", "interrupted"):
        return facts["outcome"], facts
    holder = current_holder(store)
    return ("running" if holder and holder == facts.get("writer") else "interrupted"), facts
