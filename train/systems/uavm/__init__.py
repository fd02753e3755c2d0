"""UAVM (Gong et al., IEEE SPL 2022) and its two baselines, on stored features."""
