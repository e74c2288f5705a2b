"""Differentiable k-means: palettes that are learned while the model trains."""
