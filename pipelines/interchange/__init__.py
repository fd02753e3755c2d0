"""In and out of the formats that published code reads: STELLA, CAV-MAE, UAVM, AVVP, Croissant."""
