"""The plugin `custom`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="custom",
            summary="Palettize weights with your own function, which computes the LUT and the indices of each group.",
            config="corepress_plugins.palettization.custom.config:CustomPalettizerConfig",
            implementation="corepress_plugins.palettization.custom.algorithm:CustomPalettization",
            produces="palette",
            targets=("torch", "coreml"),
        )
    ]
