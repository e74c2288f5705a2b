"""What a layer reads in one call: the same on a torch module and in a Core ML program."""

import abc
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

from torch import Tensor


class LayerInput(abc.ABC):
    """The input of a layer in one call, as the columns of its weight meet it.

    Everything is computed at first use, so that a statistic which needs only the tokens costs no unfolding.
    """

    @abc.abstractmethod
    def columns(self) -> Tensor | None:
        """Return the inputs (groups, samples, columns) in float32, in the order of `WeightView.matrix`.

        A linear layer has one sample for each position, a convolution one for each position of its output (its input
        is padded and unfolded), a transposed convolution one for each position of its input. None for a layer that
        reads no numbers, such as an embedding. Stacked weights whose inputs differ in their number of samples have no
        columns together: see `parts`.
        """

    @abc.abstractmethod
    def tokens(self) -> Tensor | None:
        """Return the indices (samples,) that an embedding looks up, None for every other layer."""

    def chunks(self) -> Iterator[Tensor]:
        """Yield the columns some samples at a time, so that an unfolded image is never in memory as a whole.

        A layer without columns yields nothing.
        """
        columns = self.columns()
        if columns is not None:
            yield columns

    def parts(self) -> "Sequence[LayerInput]":
        """Return the inputs of stacked weights one by one, in the order of the groups; of other weights, the input."""
        return (self,)

    @property
    def shared(self) -> MutableMapping[Any, Any]:
        """The results that statistics of other layers have computed from this input, in this geometry.

        Layers that read one tensor, such as the projections of attention, get the same mapping. It is empty again with
        the next batch at the latest. An input that no other layer can read has a mapping of its own.
        """
        return {}
