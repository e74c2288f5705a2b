"""The plugin `kmeans`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="kmeans",
            summary="Palettize weights by k-means: per tensor or per group; scalars or vectors; float or 8-bit LUT.",
            config="corepress_plugins.palettization.kmeans.config:PostTrainingPalettizerConfig",
            implementation="corepress_plugins.palettization.kmeans.algorithm:KMeansPalettization",
            produces="palette",
            targets=("torch", "coreml"),
        )
    ]
