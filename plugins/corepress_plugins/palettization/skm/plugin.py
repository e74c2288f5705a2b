"""The plugin `skm`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="skm",
            summary="Palettize weights by sensitivity-weighted k-means (Fisher information).",
            config="corepress_plugins.palettization.skm.config:SKMPalettizerConfig",
            implementation="corepress_plugins.palettization.skm.algorithm:SensitiveKMeans",
            needs="loss",
            produces="palette",
            targets=("torch", "coreml"),
        )
    ]
