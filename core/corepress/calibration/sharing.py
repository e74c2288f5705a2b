"""Which layers read the same tensor: what was computed from it for one of them serves the others."""

from collections import OrderedDict
from collections.abc import Hashable, MutableMapping
from typing import Any

from torch import Tensor

_MOST_TENSORS = 2


class Sharing:
    """Keeps a mapping for each tensor and geometry that was read lately.

    A tensor is known by its place in memory and by its version, which counts what was written to it. The last few of
    them are held, so that no other tensor can take their place; `clear` lets go of them.
    """

    def __init__(self) -> None:
        self._tensors: OrderedDict[Hashable, tuple[Tensor, dict[Hashable, dict[Any, Any]]]] = OrderedDict()

    def of(self, tensor: Tensor, geometry: Hashable) -> MutableMapping[Any, Any]:
        """Return what was computed from a tensor for layers of a geometry."""
        if tensor.is_inference() or not tensor.numel():
            # Nobody counts what is written to such a tensor.
            return {}
        place = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor._version)
        if place not in self._tensors:
            self._tensors[place] = tensor, {}
            while len(self._tensors) > _MOST_TENSORS:
                self._tensors.popitem(last=False)
        self._tensors.move_to_end(place)
        return self._tensors[place][1].setdefault(geometry, {})

    def clear(self) -> None:
        """Forget every tensor."""
        self._tensors.clear()
