"""The plugin `threshold`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="threshold",
            summary="Prune the weights of a magnitude up to a threshold, where enough of them are that small.",
            config="corepress_plugins.pruning.threshold.config:ThresholdPrunerConfig",
            implementation="corepress_plugins.pruning.threshold.algorithm:ThresholdPruning",
            produces="sparsity",
            targets=("torch", "coreml"),
        )
    ]
