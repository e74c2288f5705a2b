"""The plugin `dkm`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="dkm",
            summary="Palettize weights by differentiable k-means: the LUT is learned during training.",
            config="corepress_plugins.palettization.dkm.config:DKMPalettizerConfig",
            implementation="corepress_plugins.palettization.dkm.algorithm:DifferentiableKMeans",
            kind=("weight", "training"),
            produces="palette",
            sets_mode=True,
            acts_on=("weights", "activations"),
            targets=("torch", "coreml"),
        )
    ]
