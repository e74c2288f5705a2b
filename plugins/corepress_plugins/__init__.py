"""The algorithms that come with corepress; each is a plugin like any other."""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress_plugins import coreml, palettization, pruning, quantization

__all__ = ["coreml", "palettization", "pruning", "quantization"]

# Listing plugins passes through this package and must not import torch.
__getattr__ = lazy_names(
    __name__,
    {"coreml": "coreml", "palettization": "palettization", "pruning": "pruning", "quantization": "quantization"},
)
