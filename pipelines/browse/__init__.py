"""Pages over a store for people: the local web app of `avstore browse`."""
