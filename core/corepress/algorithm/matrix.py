"""A weight as a matrix whose columns meet the inputs of its layer."""

import math

import torch
from torch import Tensor


class MatrixFacts:
    """Mix-in for descriptions of a weight: `kind`, `shape`, `output_axis`, `input_axis`, `groups`, `stacked`."""

    kind: str
    shape: tuple[int, ...]
    output_axis: int
    input_axis: int
    groups: int
    stacked: int

    @property
    def matrix_shape(self) -> tuple[int, int, int]:
        """The shape (groups, rows, columns) of the weight as a matrix.

        A layer multiplies the columns of each group by its inputs: input channels of a linear layer, (input channel,
        kernel position) of a convolution, in the order of `torch.nn.functional.unfold`. A transposed convolution has
        its input channels as columns and (output channel, kernel position) as rows. Weights that are stacked along the
        output axis, each with an input of its own (the projections of attention), are groups. A vector is one column.
        """
        return tuple(self.to_matrix(torch.empty(self.shape, device="meta")).shape)  # type: ignore[return-value]

    def to_matrix(self, values: Tensor) -> Tensor:
        """Return values of the weight's shape as a matrix (groups, rows, columns); a view where that is possible."""
        groups = self.groups if self._is_convolution else self.stacked
        if self.kind.startswith("conv_transpose"):
            # (I, O / g, k...) -> (g, I / g, O / g * k) -> (g, O / g * k, I / g)
            return values.reshape(groups, self.shape[0] // groups, -1).transpose(1, 2)
        if self._is_convolution:
            return values.reshape(groups, self.shape[0] // groups, -1)
        if len(self.shape) == 1:
            return values.reshape(1, -1, 1)
        rows, columns = self.shape[self.output_axis], self.shape[self.input_axis]
        outputs_and_inputs_last = values.movedim((self.output_axis, self.input_axis), (-2, -1))
        if groups > 1:
            return outputs_and_inputs_last.reshape(groups, rows // groups, columns)
        return outputs_and_inputs_last.reshape(-1, rows, columns)

    def from_matrix(self, matrix: Tensor) -> Tensor:
        """Return a matrix (groups, rows, columns) in the shape of the weight; undoes `to_matrix`."""
        if self.kind.startswith("conv_transpose"):
            return matrix.transpose(1, 2).reshape(self.shape)
        if self._is_convolution or len(self.shape) == 1:
            return matrix.reshape(self.shape)
        rows, columns = self.shape[self.output_axis], self.shape[self.input_axis]
        others = [n for axis, n in enumerate(self.shape) if axis not in (self.output_axis, self.input_axis)]
        moved = matrix.reshape(*others, rows, columns)
        return moved.movedim((-2, -1), (self.output_axis, self.input_axis)).contiguous()

    @property
    def column_channels(self) -> int:
        """The number of consecutive columns that belong to one input channel: the kernel positions of a convolution."""
        return math.prod(self.shape[2:]) if self._is_convolution and not self.kind.startswith("conv_transpose") else 1

    @property
    def _is_convolution(self) -> bool:
        return self.kind.startswith("conv")
