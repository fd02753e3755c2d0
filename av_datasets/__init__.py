"""The datasets: one module each, with its data card, its parser and its description."""
