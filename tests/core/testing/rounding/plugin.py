"""A plugin that honours the contract."""

from corepress.plugin import AlgorithmSpec, hookimpl

SPEC = AlgorithmSpec(
    name="rounding",
    summary="Round weights to 255 levels.",
    config="tests.core.testing.rounding.config:RoundingConfig",
    implementation="tests.core.testing.rounding.algorithm:Rounding",
    kind=("weight", "training"),
    produces="affine",
)


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [SPEC]
