"""What the Tab key offers for the names of datasets, recipes and task streams.

Modules are imported when a name is completed: every command imports this one.
"""

from collections.abc import Iterable


def dataset_names(incomplete: str) -> list[str]:
    """Return the known datasets whose names begin with a text."""
    from avstore.datasets.registry import names

    return _beginning(names(), incomplete)


def recipe_names(incomplete: str) -> list[str]:
    """Return the shipped recipes whose names begin with a text."""
    from avstore.pipelines.extract.recipe import recipe_names

    return _beginning(recipe_names(), incomplete)


def stream_names(incomplete: str) -> list[str]:
    """Return the shipped task streams whose names begin with a text."""
    from avstore.datasets.registry import stream_names

    return _beginning(stream_names(), incomplete)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
