"""The plugin `unique`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="unique",
            summary="Palettize weights without loss, if they have at most 256 distinct values or vectors.",
            config="corepress_plugins.palettization.unique.config:UniquePalettizerConfig",
            implementation="corepress_plugins.palettization.unique.algorithm:UniquePalettization",
            produces="palette",
            targets=("torch", "coreml"),
        )
    ]
