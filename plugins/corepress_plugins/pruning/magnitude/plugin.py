"""The plugin `magnitude`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="magnitude",
            summary="Prune the weights of smallest magnitude: single weights, kernels, channels, blocks or n:m groups.",
            config="corepress_plugins.pruning.magnitude.config:MagnitudePrunerConfig",
            implementation="corepress_plugins.pruning.magnitude.algorithm:MagnitudePruning",
            kind=("weight", "training"),
            produces="sparsity",
            targets=("torch", "coreml"),
            default_kinds=("linear", "conv1d", "conv2d", "conv3d"),
        )
    ]
