"""CAV-MAE (Gong et al., ICLR 2023) in the form of STELLA and FLAVA."""
