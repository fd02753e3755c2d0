"""AVSA (Morgado et al., NeurIPS 2020): alignment of the views of panoramas with their sound."""
