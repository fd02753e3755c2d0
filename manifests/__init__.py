"""The DuckDB manifest of a store: open, query, ingest, rebuild and verify it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avstore.manifests.library import open_store

__all__ = ["open_store"]


def __getattr__(name: str) -> Any:
    if name == "open_store":  # imported on first use: workers that only write do not need it
        from avstore.manifests.library import open_store  # noqa: PLC0415

        return open_store
    raise AttributeError(f"module 'avstore.manifests' has no attribute {name!r}")
