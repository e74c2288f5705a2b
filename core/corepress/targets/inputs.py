"""The inputs of layers, as statistics see them."""

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import LayerInput
from corepress.calibration.sharing import Sharing
from corepress.targets.geometry import Geometry


class Numbers(LayerInput):
    """Values that a layer reads in a geometry; a function that returns them is called when they are needed."""

    def __init__(self, values: Tensor | Callable[[], Tensor], geometry: Geometry, sharing: Sharing) -> None:
        self._given = values
        self._geometry = geometry
        self._sharing = sharing

    @cached_property
    def _values(self) -> Tensor:
        found = self._given if isinstance(self._given, Tensor) else self._given()
        return found.detach()

    def columns(self) -> Tensor | None:
        """Return all columns at once."""
        found = list(self.chunks())
        if len(found) < 2:
            return found[0] if found else None
        return torch.cat(found, dim=1)

    def chunks(self) -> Iterator[Tensor]:
        """Yield the columns some samples at a time."""
        return self._geometry.chunks(self._values)

    def tokens(self) -> Tensor | None:
        """Return None: the layer looks nothing up."""
        return None

    @cached_property
    def shared(self) -> MutableMapping[Any, Any]:
        """The results that statistics of layers of this geometry have computed from the values."""
        return self._sharing.of(self._values, self._geometry)


class Tokens(LayerInput):
    """The indices that an embedding looks up."""

    def __init__(self, indices: Tensor) -> None:
        self._indices = indices

    def columns(self) -> Tensor | None:
        """Return None: the layer reads no numbers."""
        return None

    def tokens(self) -> Tensor | None:
        """Return the indices, flattened."""
        return self._indices.detach().reshape(-1)


class Nothing(LayerInput):
    """The input of a layer that is no product with a matrix, or of a kind that corepress cannot read."""

    def columns(self) -> Tensor | None:
        """Return None."""
        return None

    def tokens(self) -> Tensor | None:
        """Return None."""
        return None


class Stacked(LayerInput):
    """The inputs of weights that are stacked along the output axis, one each."""

    def __init__(self, parts: Sequence[LayerInput]) -> None:
        self._parts = tuple(parts)

    def parts(self) -> Sequence[LayerInput]:
        """Return the inputs, one for each group."""
        return self._parts

    def columns(self) -> Tensor | None:
        """Return the columns of all groups; None where they differ in their number of samples."""
        found = [columns for part in self._parts if (columns := part.columns()) is not None]
        if len(found) < len(self._parts) or len({columns.shape for columns in found}) > 1:
            return None
        return torch.cat(found)

    def tokens(self) -> Tensor | None:
        """Return None: the layer looks nothing up."""
        return None
