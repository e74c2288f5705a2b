"""The plugin `linear_qat`."""

from corepress.plugin import AlgorithmSpec, hookimpl


@hookimpl
def register_algorithms() -> list[AlgorithmSpec]:
    """Return the algorithm."""
    return [
        AlgorithmSpec(
            name="linear_qat",
            summary="Quantize weights and activations linearly, simulated in training; or calibrate them on data.",
            config="corepress_plugins.quantization.linear_qat.config:LinearQuantizerConfig",
            implementation="corepress_plugins.quantization.linear_qat.algorithm:LinearQAT",
            kind=("training",),
            needs="training",
            produces="affine",
            sets_mode=True,
            acts_on=("weights", "activations"),
        )
    ]
