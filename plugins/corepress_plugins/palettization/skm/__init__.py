"""Sensitive k-means: palettization that spares the values that the loss feels most."""
