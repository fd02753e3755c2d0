"""What a running build is doing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from avstore.manifests.lock import current_holder
from avstore.manifests.store import Store
from avstore.pipelines.build.progress import read_progress


@dataclass(frozen=True)
class LiveState:
    """The build that runs, or the latest one.

    Attributes:
        writer: Who writes to the store: pid, host, user, command, since; None if nobody does.
        state: running, done, failed or interrupted; None without a build.
        dataset: Its dataset.
        stages: How far each stage is, with the keys of `avstore status --json`.
        quiet_s: Seconds since something was finished.
    """

    writer: Mapping[str, Any] | None
    state: str | None = None
    dataset: str | None = None
    stages: tuple[Mapping[str, Any], ...] = ()
    quiet_s: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether a build writes to the store."""
        return self.writer is not None


def live_state(store: Store) -> LiveState:
    """Return what a build of a local store is doing; of a remote store nothing is known."""
    writer, latest = current_holder(store), read_progress(store)
    if latest is None:
        return LiveState(writer)
    state, facts = latest
    return LiveState(
        writer, state, facts.get("dataset"), tuple(facts.get("stages") or ()), _quiet(facts)
    )


def _quiet(facts: Mapping[str, Any]) -> float:
    try:
        updated = datetime.fromisoformat(str(facts.get("updated")))
    except ValueError:
        return 0.0
    return max(0.0, (datetime.now(UTC) - updated).total_seconds())
