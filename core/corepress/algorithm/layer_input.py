"""What a layer reads in one call: the same on a torch module and in a Core ML program."""

import abc

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
        reads no numbers, such as an embedding.
        """

    @abc.abstractmethod
    def tokens(self) -> Tensor | None:
        """Return the indices (samples,) that an embedding looks up, None for every other layer."""
