"""Activations of torch models: the calls of a model, where they are quantized, and the quantizers at these sites."""
