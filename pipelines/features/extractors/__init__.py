"""Extractors that come with avstore, one model per file."""
