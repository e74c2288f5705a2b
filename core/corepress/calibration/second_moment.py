"""The second moment of the inputs of a layer, from which layer-wise quantization propagates its errors."""

import attrs
from torch import Tensor


@attrs.frozen(eq=False)
class Moment:
    """The mean of `x xᵀ` over the inputs x of a layer.

    `matrix` (groups, columns, columns) is float32 and symmetric, its columns in the order of `WeightView.matrix`;
    `count` is the number of samples. A layer that read no numbers has a count of zero and a matrix of zeros.
    """

    matrix: Tensor
    count: int
