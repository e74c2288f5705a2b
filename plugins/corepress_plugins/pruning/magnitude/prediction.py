"""The sparsity that a weight will have, known from its shape."""

from corepress.algorithm import WeightFacts
from corepress_plugins.pruning.magnitude.config import ModuleMagnitudePrunerConfig
from corepress_plugins.pruning.magnitude.selection import zeros_among


def predicted_sparsity(weight: WeightFacts, config: ModuleMagnitudePrunerConfig) -> float:
    """Return the fraction of zeros after the last step, counted as the masks count.

    Where a last block is shorter than `block_size`, which blocks fall depends on the values: the fraction is then the
    largest that is possible.
    """
    if config.n_m_ratio is not None:
        return _in_groups(weight, config.n_m_ratio, config.dim)
    units = _units(weight, config.granularity_for(len(weight.shape)))
    zeros = zeros_among(units, config.final_sparsity)
    if config.block_size > 1:
        channels = weight.shape[weight.output_axis if config.block_dim == 0 else weight.input_axis]
        block = min(config.block_size, channels)
        zeros -= zeros % block if channels % block == 0 else 0
    return zeros / max(units, 1)


def _in_groups(weight: WeightFacts, ratio: tuple[int, int], dim: int) -> float:
    zeros, group = ratio
    length = weight.shape[weight.output_axis if dim == 0 else weight.input_axis]
    whole, rest = divmod(length, group)
    # A shorter last group counts as filled up with zeros; filling up is free where there is none.
    return (whole * zeros + max(0, zeros - (group - rest))) / max(length, 1)


def _units(weight: WeightFacts, granularity: str) -> int:
    if granularity == "per_channel":
        return weight.output_channels
    if granularity == "per_kernel":
        return weight.output_channels * weight.shape[weight.input_axis]
    return weight.count
