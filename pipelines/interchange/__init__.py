"""Import from and export to third-party formats: STELLA, CAV-MAE, UAVM, AVVP, Croissant."""
