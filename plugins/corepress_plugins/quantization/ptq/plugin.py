"""The plugin `ptq`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="ptq",
            summary="Quantize weights to 4 or 8 bits by rounding to nearest, per tensor, channel or block.",
            config="corepress_plugins.quantization.ptq.config:PostTrainingQuantizerConfig",
            implementation="corepress_plugins.quantization.ptq.algorithm:RoundToNearest",
            produces="affine",
            targets=("torch", "coreml"),
        )
    ]
