"""How a dataset becomes shards: plan, fetch, validate, split, extract, shard."""
