"""The DuckDB catalogue over a store: open, ingest, rebuild, verify, query."""
