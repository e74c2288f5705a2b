"""The names under which the reference documentation first published activation quantization."""

from corepress_plugins.coreml.functions import linear_quantize_activations
from corepress_plugins.coreml.quantizer_config import OpActivationLinearQuantizerConfig

__all__ = ["OpActivationLinearQuantizerConfig", "linear_quantize_activations"]
