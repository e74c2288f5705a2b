"""Round to nearest: post-training quantization without data."""
