"""The plugin `gptq`: integers, and palettes by the same propagation of errors."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return both algorithms: what an algorithm produces does not depend on its configuration."""
    return [
        AlgorithmSpec(
            name="gptq",
            summary="Quantize weights column by column; later columns make up for the errors of earlier ones (GPTQ).",
            config="corepress_plugins.quantization.gptq.config:GPTQConfig",
            implementation="corepress_plugins.quantization.gptq.algorithm:GPTQ",
            needs="inputs",
            produces="affine",
            targets=("torch", "coreml"),
        ),
        AlgorithmSpec(
            name="gptq_palette",
            summary="Palettize weights by GPTQ: LUTs learned by k-means on the inputs' second moment, or NormalFloat.",
            config="corepress_plugins.quantization.gptq.config:GPTQConfig",
            implementation="corepress_plugins.quantization.gptq.palettes:GPTQPalette",
            needs="inputs",
            produces="palette",
            targets=("torch", "coreml"),
        ),
    ]
