"""Configuration of `linear_quantize_weights` and `linear_quantize_activations`."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from corepress.config import DType, Problem, configuration, option
from corepress_plugins.coreml.op_config import CompressionGranularity, OpCompressorConfig
from corepress_plugins.quantization.blocks import WHOLE_AXIS

_ACTIVATION_BITS = 8
_SCHEMES = {"linear_symmetric": "symmetric", "linear": "affine"}


@configuration
class OpLinearQuantizerConfig(OpCompressorConfig):
    """Configure how to quantize the weights of an operation, or with 8 bits its activations."""

    positional: ClassVar[tuple[str, ...]] = (
        "mode",
        "dtype",
        "granularity",
        "block_size",
        "weight_threshold",
    )

    mode: str = option(
        default="linear_symmetric",
        one_of=tuple(_SCHEMES),
        doc="linear_symmetric: range around zero. linear: minimum to maximum, with a zero point. Case-insensitive.",
    )
    dtype: DType = option(
        default=DType.INT8,
        one_of=(DType.INT8, DType.UINT8, DType.INT4, DType.UINT4),
        doc="Integer type, as a string or as a type of numpy, torch or MIL.",
    )
    granularity: CompressionGranularity = option(
        default=CompressionGranularity.PER_CHANNEL,
        one_of=(
            CompressionGranularity.PER_TENSOR,
            CompressionGranularity.PER_CHANNEL,
            CompressionGranularity.PER_BLOCK,
        ),
        doc="One scale per tensor, per output channel or per block. Activations have one scale per tensor.",
    )
    block_size: int | tuple[int, ...] = option(
        default=32,
        ge=0,
        doc="For per_block: block length along the input channels, or one length per axis; 0 = the whole axis.",
    )

    def problems(self) -> Iterable[Problem]:
        """Refuse blocks without a length."""
        if self.block_size == ():
            yield Problem("block_size", "must have one length for each axis of the weights, got an empty list")

    @property
    def algorithm(self) -> str:
        """The name of the algorithm that quantizes weights."""
        return "rtn"

    @property
    def scheme(self) -> str:
        """The mode as algorithms call it."""
        return _SCHEMES[self.mode]

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read integer types of MIL, whose classes all have the name "int"."""
        data = super().shorthand(data)
        dtype = data.get("dtype")
        if isinstance(dtype, type) and hasattr(dtype, "get_bitwidth") and hasattr(dtype, "is_unsigned"):
            return {**data, "dtype": f"{'u' if dtype.is_unsigned() else ''}int{dtype.get_bitwidth()}"}
        return data

    def module_options(self, *, portable: bool) -> dict[str, Any]:  # noqa: ARG002
        """Return the options of the algorithm's own configuration."""
        options: dict[str, Any] = {
            "weight_threshold": self.size_threshold,
            "weight_dtype": self.dtype,
            "granularity": self.granularity.value,
            "quantization_scheme": self.scheme,
        }
        if self.granularity is CompressionGranularity.PER_BLOCK:
            if self.block_size == 0:
                return options | {"granularity": "per_channel"}
            if isinstance(self.block_size, tuple) and not any(self.block_size):
                return options | {"granularity": "per_tensor"}
            options["block_size"] = _with_whole_axes(self.block_size)
        return options


def _with_whole_axes(block_size: int | tuple[int, ...]) -> int | tuple[int, ...]:
    """Return lengths of blocks as `rtn` spells them: 0 is the whole axis here, whatever the other axes are."""
    if isinstance(block_size, int):
        return block_size
    return tuple(length or WHOLE_AXIS for length in block_size)


@configuration
class OpActivationLinearQuantizerConfig(OpLinearQuantizerConfig):
    """Configure how to quantize the activations of an operation: 8 bits, one scale per tensor."""

    def problems(self) -> Iterable[Problem]:
        """Refuse 4-bit activations."""
        yield from super().problems()
        yield from activation_problems(self)


def activation_problems(config: OpLinearQuantizerConfig) -> Iterable[Problem]:
    """Yield why activations cannot be quantized as a configuration asks."""
    if config.dtype.bits != _ACTIVATION_BITS:
        yield Problem("dtype", f"activations have 8 bits; give 'int8' or 'uint8' instead of '{config.dtype.value}'")
