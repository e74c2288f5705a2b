"""The plugin `activation`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="activation",
            summary="Quantize activations to 8 bits, with ranges calibrated on samples.",
            config="corepress_plugins.quantization.activation.config:ActivationQuantizationConfig",
            implementation="corepress_plugins.quantization.activation.algorithm:RangeQuantization",
            kind=("activation",),
            needs="inputs",
            produces="affine",
            targets=("torch", "coreml"),
        )
    ]
