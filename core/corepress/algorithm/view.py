"""How an algorithm sees a weight: the same on a torch module and in a Core ML program."""

import math

import attrs
from torch import Tensor

from corepress.algorithm.matrix import MatrixFacts


@attrs.frozen(kw_only=True)
class WeightFacts(MatrixFacts):
    """What is known of a weight without its values.

    `output_axis` and `input_axis` are the channel axes (a transposed convolution has them the other way round).
    `kind` is the module kind, such as `linear` or `conv2d`. `groups` is the number of groups of a grouped convolution.
    `stacked` is the number of weights along the output axis that have inputs of their own, such as the three
    projections of attention. `parts` is the number of equal parts along the output axis that a package may hold in
    another order or apart, such as the gates of an LSTM. `stack_axis` is the axis along which weights with channels of
    their own lie, such as those of experts; None where there is none.
    `slot` is `weight`, or `part` when it is a part of what the weight already is: its look-up table, whose shape is
    (tables along each axis of the weight..., entries, cluster_dim). `aliases` are further names of the weight: those of
    tied parameters, and in a Core ML program what it was called in torch.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    output_axis: int = 0
    input_axis: int = 1
    groups: int = 1
    slot: str = "weight"
    stacked: int = 1
    parts: int = 1
    stack_axis: int | None = None
    aliases: tuple[str, ...] = attrs.field(default=(), eq=False)

    @property
    def count(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def output_channels(self) -> int:
        """The length of the output axis."""
        return self.shape[self.output_axis]


@attrs.frozen(kw_only=True, eq=False)
class WeightView(WeightFacts):
    """A weight, or the slot of it that a stage may encode.

    `values` is float32 and must not be written to. `mask` (bool, same shape) tells which values are kept when the
    weight is sparse already; what lies outside it is zero and stays zero.
    """

    values: Tensor
    mask: Tensor | None = None

    def matrix(self) -> Tensor:
        """Return the values as a matrix (groups, rows, columns); see `matrix_shape`. Do not write to it."""
        return self.to_matrix(self.values)

    @property
    def facts(self) -> WeightFacts:
        """The view without its values."""
        return WeightFacts(**{field.name: getattr(self, field.name) for field in attrs.fields(WeightFacts)})
