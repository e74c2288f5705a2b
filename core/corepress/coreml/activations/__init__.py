"""Activation quantization of ML programs: calibrate on the CPU of any machine, then write quantize/dequantize pairs."""

from corepress.coreml.activations.quantization import quantize_activations
from corepress.coreml.activations.sites import ActivationSite, sites

__all__ = ["ActivationSite", "quantize_activations", "sites"]
