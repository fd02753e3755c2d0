"""What a model has learnt, and what it has forgotten."""
