"""The algorithms that come with corepress; each is a plugin like any other."""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress_plugins import palettization, pruning

__all__ = ["palettization", "pruning"]

# Listing plugins passes through this package and must not import torch.
__getattr__ = lazy_names(__name__, {"palettization": "palettization", "pruning": "pruning"})
