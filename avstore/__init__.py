"""An audio-visual feature store for continual learning."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avstore.manifests.library import open_store
    from avstore.train.data import BatchSpec, Dataset, Loader, sample_list

__version__ = "0.2.0"
__all__ = ["BatchSpec", "Dataset", "Loader", "__version__", "open_store", "sample_list"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import avstore` loads no libraries."""
    if name not in __all__:
        raise AttributeError(f"module 'avstore' has no attribute {name!r}")
    if name == "open_store":  # to query a store takes no torch
        from avstore.manifests import library  # noqa: PLC0415

        return library.open_store
    from avstore.train import data  # noqa: PLC0415 -- imports torch

    return getattr(data, name)


def __dir__() -> list[str]:
    return sorted(__all__)
