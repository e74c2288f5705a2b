"""Quantization of activations."""
