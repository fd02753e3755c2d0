"""Derived features: computed from base shards, stored in companion shards with the same keys."""
