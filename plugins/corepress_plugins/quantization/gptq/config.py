"""Configuration of GPTQ."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from corepress.config import BySize, DType, ModuleConfig, Problem, Rules, configuration, layered, option
from corepress_plugins.quantization.dtypes import INTEGERS, excluding_floats
from corepress_plugins.quantization.granularity import QuantizationGranularity, QuantizationScheme
from corepress_plugins.quantization.layerwise.config import CalibratedConfig, ModuleLayerwiseConfig

_BITS = (2, 3, 4, 6, 8)
_MOST_NORMAL_FLOAT_BITS = 4


@configuration
class ModuleGPTQConfig(ModuleLayerwiseConfig):
    """Configure how to quantize the weights of a module by GPTQ."""

    positional: ClassVar[tuple[str, ...]] = (
        "weight_dtype",
        "granularity",
        "quantization_scheme",
        "block_size",
        "enable_normal_float",
        "hessian_dampening",
        "use_activation_order_heuristic",
        "processing_group_size",
        "algorithm",
    )

    weight_dtype: DType = option(
        default=DType.UINT8,
        one_of=(*INTEGERS, DType.FLOAT32),
        doc="Integer type; a number of bits means an unsigned one. For palettes: the type of an index. "
        "float32 excludes the module.",
    )
    granularity: QuantizationGranularity = option(
        default=QuantizationGranularity.per_channel,
        doc="One scale per tensor, per output channel or per block. A block_size makes per_channel per_block.",
    )
    quantization_scheme: QuantizationScheme = option(
        default=QuantizationScheme.symmetric,
        doc="symmetric: range around zero. affine: from minimum to maximum, with a zero point. Unsigned integers "
        "all go to one side where a channel or block has values of one sign only.",
    )
    block_size: int | None = option(
        default=None, ge=1, doc="Number of input channels of an output channel that share a scale, for per_block."
    )
    block_fallback: Literal["skip", "per_channel"] = option(
        default="skip",
        doc="If block_size does not divide a weight: skip the weight, or give it a scale per channel.",
    )
    range: Literal["minmax", "mse"] = option(
        default="minmax",
        doc="Range of a channel or block. minmax: from the smallest to the largest value. mse: the part of that range "
        "with the least squared error; values outside are clipped.",
    )
    enable_normal_float: bool = option(
        default=False,
        doc="Use the levels of NormalFloat, under one scale per channel or tensor, in place of integers. "
        "2 to 4 bits; algorithm gptq_palette.",
    )
    palette: Literal["kmeans"] | None = option(
        default=None,
        doc="kmeans: use levels learned by k-means in place of integers; algorithm gptq_palette.",
    )
    group_size: int | None = option(
        default=None, ge=1, doc="For palette: number of output channels that share a LUT. None = all."
    )
    use_activation_order_heuristic: bool = option(
        default=False, doc="Quantize the columns with the largest inputs first. Scales of blocks are then static."
    )
    static_groups: bool = option(
        default=False,
        doc="Take the scales of blocks from the original weight, not from the adjusted one when a block's turn comes.",
    )
    processing_group_size: int = option(
        default=128, ge=1, doc="Accepted for compatibility: errors are passed on in ranges of every size."
    )
    algorithm: Literal["gptq"] = option(default="gptq", doc="Name of the algorithm.")

    @property
    def weight_n_bits(self) -> int:
        """The number of bits of a weight."""
        return self.weight_dtype.bits

    @property
    def scale_granularity(self) -> QuantizationGranularity:
        """The granularity that is meant: a block size says that blocks are."""
        return self.granularity if self.block_size is None else QuantizationGranularity.per_block

    @property
    def makes_palette(self) -> bool:
        """Whether the result is a palette and not a weight of integers."""
        return self.enable_normal_float or self.palette is not None

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read a number of bits as the unsigned type of so many bits."""
        bits = data.get("weight_dtype")
        if isinstance(bits, int) and not isinstance(bits, bool) and bits in _BITS:
            return {**data, "weight_dtype": f"uint{bits}"}
        return data

    @classmethod
    def amend_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with numbers of bits among the types."""
        given = schema["properties"]["weight_dtype"]
        description = given.pop("description", "")
        schema["properties"]["weight_dtype"] = {"anyOf": [given, {"enum": list(_BITS)}], "description": description}
        return schema

    def problems(self) -> Iterable[Problem]:
        """Refuse blocks without a size, sizes without blocks, and palettes that cannot be."""
        is_blockwise = self.granularity is QuantizationGranularity.per_block
        if is_blockwise and self.block_size is None:
            yield Problem("block_size", "granularity per_block needs a block_size")
        if self.granularity is QuantizationGranularity.per_tensor and self.block_size is not None:
            yield Problem("block_size", f"{self.block_size} needs granularity per_block; it is per_tensor")
        if self.group_size is not None and self.palette is None:
            yield Problem(
                "group_size", f"{self.group_size} is the size of groups that share a LUT; give palette 'kmeans'"
            )
        if not self.makes_palette:
            return
        if self.palette is not None and self.enable_normal_float:
            yield Problem("enable_normal_float", "cannot be combined with palette; turn one of them off")
        if self.block_size is not None:
            yield Problem("block_size", f"{self.block_size} is for integers: palettes have no scales of blocks")
        if self.enable_normal_float and self.weight_dtype.bits > _MOST_NORMAL_FLOAT_BITS:
            yield Problem(
                "weight_dtype", f"{self.weight_dtype}: NormalFloat has 2 to 4 bits; use 'uint4', or turn it off"
            )


@layered
class GPTQConfig(CalibratedConfig):
    """Configure which modules to quantize by GPTQ, how, and with how much calibration data."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleGPTQConfig

    def rules(self) -> Rules[BySize[ModuleLayerwiseConfig]]:
        """Return the three levels. For a name, float32 means None: the module is excluded."""
        return excluding_floats(super().rules())
