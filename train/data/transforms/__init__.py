"""Transform the parts of one sample: small pure functions from stored facts to arrays."""
