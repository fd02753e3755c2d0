"""One store that pages are made of: a pinned state of its manifest, renewed when it changes."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from avstore.manifests.library import OpenStore, QueryResult
from avstore.manifests.store import StoreError
from avstore.pipelines.browse.facts import Facts
from avstore.pipelines.browse.layouts import Layout, find_layouts

_LOOK_EVERY_S = 1.0  # how often the manifest's file is looked at for changes
_LAYOUTS = 4000  # clips whose byte ranges are kept


class Snapshot:
    """A published state of the manifest, and what is computed from it.

    Attributes:
        store: The store, whose queries all see this state.
        facts: Its clips, to select and count.
        kept: Results by name, for as long as the state is current.
    """

    def __init__(self, store: OpenStore) -> None:
        self.store = store.__enter__()
        self.facts = Facts(store.connect())
        self.kept: dict[Any, Any] = {}
        self._layouts: OrderedDict[tuple[str, str | None], Layout] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close its connections."""
        self.facts.close()
        self.store.close()

    def query(self, sql: str, params: Any = ()) -> QueryResult:
        """Run a query over the manifest. Raise StoreError if it fails."""
        return self.store.query(sql, params)

    def layout(self, clip_id: str, stage: str | None) -> Layout:
        """Return where the members of a clip are.

        Raises:
            StoreError: The clip is not stored, or stored by several recipes and `stage` is None.
        """
        with self._lock:
            held = self._layouts.get((clip_id, stage))
        if held is not None:
            return held
        found = find_layouts(self.store, clip_id, stage)
        if not found:
            by = f" by {stage}" if stage else ""
            raise StoreError(f"{clip_id} is not stored{by}")
        if len(found) > 1:
            stages = ", ".join(sorted(layout.stage for layout in found))
            raise StoreError(f"{clip_id} is stored by several recipes; give one of {stages}")
        self.keep(found)
        return found[0]

    def keep(self, layouts: list[Layout]) -> None:
        """Keep layouts that pages are about to read."""
        with self._lock:
            for layout in layouts:
                self._layouts[layout.clip_id, layout.stage] = layout
            while len(self._layouts) > _LAYOUTS:
                self._layouts.popitem(last=False)


class Session:
    """Opens the store again when a build has published another manifest.

    DuckDB shares one database among all connections of a process to a file, so the old state is
    closed before the new one is opened: requests that begin meanwhile wait.

    Args:
        store: The store.
    """

    def __init__(self, store: OpenStore) -> None:
        self._store = store
        self._changed = threading.Condition()
        self._users = 0
        self._looked = 0.0
        self._stamp = self._now()
        self._current: Snapshot | None = Snapshot(store)

    @property
    def store(self) -> OpenStore:
        """The store, for what is not in the manifest."""
        return self._store

    @contextmanager
    def using(self) -> Iterator[Snapshot]:
        """Give the current state to one request, which must not wait for another one."""
        with self._changed:
            current = self._renewed()
            self._users += 1
        try:
            yield current
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def interrupt(self) -> None:
        """End the query that runs, so that the server can stop at once."""
        if self._current is not None:
            self._current.facts.interrupt()

    def close(self) -> None:
        """Close the store."""
        if self._current is not None:
            self._current.close()

    def _renewed(self) -> Snapshot:
        """Return the current state, opened again if the manifest was replaced; the lock is held.

        Raises:
            StoreError: The manifest cannot be read; the next request tries again.
        """
        if self._current is not None and not self._is_replaced():
            return self._current
        self._changed.wait_for(lambda: self._users == 0)
        stamp = self._now()
        if self._current is None or stamp != self._stamp:
            if self._current is not None:
                self._current.close()
            self._current = None  # until a manifest can be opened
            self._current = Snapshot(self._store)
            self._stamp = stamp
        return self._current

    def _is_replaced(self) -> bool:
        """Return whether the manifest's file is another one, looking at it once a second."""
        if time.monotonic() - self._looked < _LOOK_EVERY_S:
            return False
        self._looked = time.monotonic()
        return self._now() != self._stamp

    def _now(self) -> tuple[int, int] | None:
        """Return what tells the states of the manifest's file apart; None while there is none."""
        try:
            found = self._store.manifest.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
