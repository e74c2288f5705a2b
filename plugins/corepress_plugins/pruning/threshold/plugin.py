"""The plugin `threshold`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="threshold",
            summary="Prune the weights up to a magnitude threshold. Skip tensors that would get too few zeros.",
            config="corepress_plugins.pruning.threshold.config:ThresholdPrunerConfig",
            implementation="corepress_plugins.pruning.threshold.algorithm:ThresholdPruning",
            produces="sparsity",
            targets=("torch", "coreml"),
        )
    ]
