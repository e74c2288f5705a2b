"""The plugin `uniform`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="uniform",
            summary="Palettize weights with LUT entries equally spaced between the smallest and the largest value.",
            config="corepress_plugins.palettization.uniform.config:UniformPalettizerConfig",
            implementation="corepress_plugins.palettization.uniform.algorithm:UniformPalettization",
            produces="palette",
            targets=("torch", "coreml"),
        )
    ]
