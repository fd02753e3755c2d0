"""HAN (Tian et al., ECCV 2020) and VALOR (Lai et al., NeurIPS 2023): events by the second."""
