"""The plugin `ternary`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="ternary",
            summary="Replace every weight by -s, 0 or +s, with one s per tensor or per output channel (2-bit palette).",
            config="corepress_ternary.config:TernaryConfig",
            implementation="corepress_ternary.algorithm:TernaryWeights",
            produces="palette",
        )
    ]
