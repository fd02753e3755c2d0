"""Fixtures of the faults' tests."""

from tests.manifests.conftest import store

__all__ = ["store"]
