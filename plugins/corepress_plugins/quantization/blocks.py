"""How a weight is cut into blocks that share a scale."""

import math
from collections.abc import Sequence

from corepress.algorithm import Unsupported, WeightFacts
from corepress.encoding import AffineForm
from corepress_plugins.quantization.granularity import QuantizationGranularity
from corepress_plugins.quantization.integers import Integers


class IndivisibleError(Unsupported):
    """The block size does not divide the weight."""


Grid = tuple[int, ...]
"""The number of scales along each axis."""


WHOLE_AXIS = -1
"""The block_size of an axis that is not cut. So does 0, but where input channels are cut, output channels are apart."""


def scale_grid_or_channels(
    weight: WeightFacts,
    granularity: QuantizationGranularity,
    block_size: int | Sequence[int] | None,
    block_fallback: str,
) -> Grid:
    """Return the same as `scale_grid`, or scales per channel where blocks do not divide and the fallback says so."""
    try:
        return scale_grid(weight, granularity, block_size)
    except IndivisibleError as reason:
        if block_fallback == "skip":
            raise Unsupported(f"{reason}, and block_fallback is 'skip'") from None
        return scale_grid(weight, QuantizationGranularity.per_channel, None)


def scale_grid(
    weight: WeightFacts, granularity: QuantizationGranularity, block_size: int | Sequence[int] | None
) -> Grid:
    """Return the number of scales that a weight, or its look-up tables, get along each axis.

    `block_size` is what the option of that name says, for per_block.

    Raises Unsupported for weights without elements or channels, and for what blocks do not divide.
    """
    rank = len(weight.shape)
    if not weight.count:
        raise Unsupported("it has no elements")
    if granularity is QuantizationGranularity.per_tensor:
        return (1,) * rank
    if weight.slot == "part":
        return _table_grid(weight, granularity)
    if rank < 2:
        raise Unsupported(f"a {rank}-D parameter has no channels; use granularity per_tensor")
    if granularity is QuantizationGranularity.per_channel:
        own = (weight.output_axis, weight.stack_axis)
        return tuple(length if axis in own else 1 for axis, length in enumerate(weight.shape))
    assert block_size is not None
    return _block_grid(weight, (block_size,) if isinstance(block_size, int) else tuple(block_size))


def integer_form(weight: WeightFacts, integers: Integers, grid: Grid) -> AffineForm:
    """Return the form of a weight as integers with one scale for each block of the grid."""
    return AffineForm(
        n_bits=integers.n_bits,
        signed=integers.signed,
        scales=math.prod(grid),
        zero_points=integers.zero_points,
        blockwise=is_blockwise(grid, weight.shape),
        grid=grid,
    )


def is_blockwise(grid: Grid, shape: Sequence[int]) -> bool:
    """Tell whether scales belong to blocks, not to channels of one axis or the whole tensor."""
    cut = [(n, length) for n, length in zip(grid, shape, strict=True) if n > 1]
    return len(cut) > 1 or any(n < length for n, length in cut)


def _table_grid(weight: WeightFacts, granularity: QuantizationGranularity) -> Grid:
    """Return a scale for each table where blocks are asked for, else one for those of the same output channels."""
    every = granularity is QuantizationGranularity.per_block
    groups = (n if every or axis == weight.output_axis else 1 for axis, n in enumerate(weight.shape[:-2]))
    return (*groups, 1, 1)


def _block_grid(weight: WeightFacts, given: tuple[int, ...]) -> Grid:
    rank = len(weight.shape)
    shown = f"block_size {given[0] if len(given) == 1 else given}"
    if all(n in (0, WHOLE_AXIS) for n in given):
        raise Unsupported(f"{shown} cuts no axis; use granularity per_channel or per_tensor")
    grid = [1] * rank
    lengths = _block_lengths(weight, given, shown)
    if lengths.get(weight.output_axis) == 0 and lengths.get(weight.input_axis, 0) > 0:
        lengths[weight.output_axis] = 1
    for axis, block in lengths.items():
        length = weight.shape[axis]
        if block > 0 and length % block:
            raise IndivisibleError(f"block_size {block} does not divide axis {axis}, which has {length} elements")
        grid[axis] = length // block if block > 0 else 1
    if all(n == 1 for n in grid):
        raise Unsupported(f"{shown} makes one block of it; use granularity per_tensor")
    return tuple(grid)


def _block_lengths(weight: WeightFacts, given: tuple[int, ...], shown: str) -> dict[int, int]:
    """Return the length of a block by axis: one was given for each axis, for both channel axes, or for the inputs."""
    rank = len(weight.shape)
    if len(given) == rank:
        return dict(enumerate(given))
    stack = {} if weight.stack_axis is None else {weight.stack_axis: 1}
    if len(given) == 2:
        return stack | {weight.output_axis: given[0], weight.input_axis: given[1]}
    if len(given) == 1:
        return stack | {weight.output_axis: 1, weight.input_axis: given[0]}
    raise Unsupported(
        f"{shown} has {len(given)} entries, and the weight {rank} axes; "
        f"give one for the input axis, two for output and input axis, or {rank}"
    )
