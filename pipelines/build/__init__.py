"""From annotations and media to committed shards."""
