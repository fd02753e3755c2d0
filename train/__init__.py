"""A thin trainer over the store."""
