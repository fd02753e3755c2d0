"""Take a list of files or a folder as the argument of `avstore build`, instead of a dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from avstore.manifests.store import Store, StoreError
from avstore.pipelines.cli.options import local_path
from avstore.pipelines.cli.progress import bar

if TYPE_CHECKING:
    from rich.console import Console

    from avstore.datasets.spec import DatasetSpec
    from avstore.pipelines.build.own_data import OwnData, OwnOptions


def is_own_data(argument: str) -> bool:
    """Return whether the argument of `build` is a list or a folder, not the name of a dataset."""
    from avstore.datasets import registry
    from avstore.datasets.own_data import is_list_name

    if is_list_name(argument):
        return True
    return argument not in registry.names() and Path(argument).expanduser().is_dir()


def find_spec(name: str, store: Store) -> "DatasetSpec":
    """Return a dataset by its name, also a user's own one that the store holds.

    Raises:
        LookupError: There is no such dataset.
    """
    from avstore.datasets import registry
    from avstore.pipelines.build.own_data import stored_spec

    try:
        return registry.get(name)
    except LookupError:
        if spec := stored_spec(store, name):
            return spec
        raise


def own_inputs(argument: str, options: "OwnOptions", store: Store, out: "Console") -> "OwnData":
    """Return a list or a folder as a dataset that is ready to build.

    Raises:
        StoreError: It does not exist.
        AnnotationError: It cannot be used.
    """
    from avstore.pipelines.build.own_data import open_own_data

    place = local_path(argument)
    if not place.exists():
        raise StoreError(f"the list {place} does not exist; check the path")
    opened = open_own_data(place, options, store, _progress(out))
    if opened.unknown:
        names = ", ".join(opened.unknown)
        out.print(f"columns kept in extra, without a meaning for avstore: {names}{_hint(opened)}")
    return opened


def _hint(opened: "OwnData") -> str:
    import difflib

    from avstore.datasets.own_table import COLUMNS

    known = (*COLUMNS, "label", "caption")
    near = {
        name: found[0]
        for name in opened.unknown
        if (found := difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.75))
    }
    pairs = ", ".join(f"{right} instead of {wrong}" for wrong, right in near.items())
    return f" (did you mean {pairs}?)" if pairs else ""


def _progress(out: "Console") -> Callable[[int, int], None]:
    """Return a callback that shows how many lengths were read."""
    from contextlib import ExitStack

    stack = ExitStack()
    shown: list[Callable[[int], None]] = []

    def advance(done: int, total: int) -> None:
        if not shown:
            shown.append(stack.enter_context(bar(out, "lengths", total, "files")))
        shown[0](1)
        if done == total:
            stack.close()

    return advance
