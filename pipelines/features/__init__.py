"""Derived features: computed from shards, stored in companion shards with the same keys.

extractor: what an extractor is; extractors/: those that come with avstore; build: the driver.
"""
