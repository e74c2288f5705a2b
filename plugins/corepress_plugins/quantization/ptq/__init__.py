"""Post-training quantization: weights are rounded to the nearest integer, without data."""
