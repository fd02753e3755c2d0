"""What is decided when reading: small pure functions from stored facts to arrays."""
