"""The plugin `rtn`, with the name that the algorithm had before."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm, and its deprecated alias."""
    return [
        AlgorithmSpec(
            name="rtn",
            summary="Quantize weights to 2, 3, 4, 6 or 8 bits by rounding to nearest, per tensor, channel or block.",
            config="corepress_plugins.quantization.rtn.config:PostTrainingQuantizerConfig",
            implementation="corepress_plugins.quantization.rtn.algorithm:RoundToNearest",
            produces="affine",
            targets=("torch", "coreml"),
        ),
        AlgorithmSpec(
            name="ptq",
            summary="Deprecated alias of `rtn`.",
            config="corepress_plugins.quantization.rtn.config:PostTrainingQuantizerConfig",
            implementation="corepress_plugins.quantization.rtn.deprecated:PTQ",
            produces="affine",
            targets=("torch", "coreml"),
        ),
    ]
