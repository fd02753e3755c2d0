"""Scores of what a model has learnt and forgotten, one task a file."""
