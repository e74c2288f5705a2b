"""The plugin `ternary`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="ternary",
            summary="Replace every weight by -s, 0 or +s: a palette of 2 bits, per tensor or per output channel.",
            config="corepress_ternary.config:TernaryConfig",
            implementation="corepress_ternary.algorithm:TernaryWeights",
            produces="palette",
        )
    ]
