"""Post-training palettization by k-means."""
