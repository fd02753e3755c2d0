"""The extractors that come with avstore: one file a model."""
