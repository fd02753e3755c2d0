"""Make the inputs of a build in its store, where readers see who writes and how far it is."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avstore.manifests.catalogue import open_write
from avstore.manifests.errors import BUILD_BYTES, memory_hint
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.pipelines.build.meter import Progress
from avstore.pipelines.build.progress import PublishedProgress
from avstore.pipelines.fetch.source import MachineError


def create_store(root: Path) -> Store:
    """Return the store at `root`, created if missing.

    Raises:
        MachineError: It cannot be written, or the limit on memory (ulimit -v) is too small for any
            build: libraries then end the process at places where no error can be raised.
    """
    if 0 <= resource.getrlimit(resource.RLIMIT_AS)[0] < BUILD_BYTES:
        raise MachineError(f"the build does not start{memory_hint()}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe.{id(root)}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise MachineError(
            f"the store {root} cannot be written: {error.strerror or error}; "
            "choose another folder (STORE=DIR, or --store DIR)"
        ) from error
    return Store(root)


def is_new(store: Store) -> bool:
    """Return whether the store needs an empty manifest, so that readers can open it."""
    return not store.manifest.is_file() and not store.ledger.is_dir()


@contextmanager
def preparing(root: Path, dataset: str, wait_s: float, progress: Progress) -> Iterator[Progress]:
    """Hold the store's lock and publish the progress of what a build needs first.

    Args:
        root: The store, created if missing.
        dataset: The dataset that will be built.
        wait_s: Seconds to wait for another writer; -1 waits for ever.
        progress: Shows the progress.

    Raises:
        StoreBusyError: Another process writes to the store.
        MachineError: The store cannot be written.
    """
    store = create_store(root)
    with writing(store, wait_s):
        if is_new(store):
            with open_write(store) as writer:
                writer.publish()
        shown = PublishedProgress(store, dataset, progress)
        outcome = "interrupted"
        try:
            yield shown
            outcome = "done"
        finally:
            shown.end(outcome)
