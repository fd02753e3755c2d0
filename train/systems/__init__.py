"""Published systems, one package each: model, objective, weights, scores."""
