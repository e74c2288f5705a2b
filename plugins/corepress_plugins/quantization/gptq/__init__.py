"""GPTQ: quantization in which each column of a weight makes up for the errors of those before it."""
