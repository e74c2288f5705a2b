"""Configuration of SparseGPT."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from corepress.config import DType, ModuleConfig, Problem, configuration, layered, option
from corepress_plugins.quantization.dtypes import INTEGERS
from corepress_plugins.quantization.granularity import QuantizationGranularity, QuantizationScheme
from corepress_plugins.quantization.layerwise.config import CalibratedConfig, ModuleLayerwiseConfig


@configuration
class ModuleSparseGPTConfig(ModuleLayerwiseConfig):
    """Configure how to prune the weights of a module by SparseGPT, and how to quantize those that are kept."""

    positional: ClassVar[tuple[str, ...]] = (
        "target_sparsity",
        "n_m_ratio",
        "weight_dtype",
        "quantization_granularity",
        "quantization_scheme",
        "enable_normal_float",
        "hessian_dampening",
        "processing_group_size",
        "algorithm",
    )

    target_sparsity: float = option(default=0.5, ge=0, le=1, doc="Fraction of zeros. With `n_m_ratio`, it is n / m.")
    n_m_ratio: tuple[int, int] | None = option(
        default=None, doc="(n, m): prune n out of every m input channels; 0 <= n < m."
    )
    sparsity_block_size: int = option(
        default=1, ge=1, doc="Number of consecutive output channels whose weights at one position are pruned together."
    )
    weight_dtype: DType = option(
        default=DType.FLOAT32,
        one_of=(*INTEGERS, DType.FLOAT32, DType.FLOAT16),
        doc="Integer type of the weights that are kept. float32 and float16 do not quantize them.",
    )
    quantization_granularity: QuantizationGranularity = option(
        default=QuantizationGranularity.per_channel,
        doc="One scale per tensor, per output channel or per block. A block_size makes per_channel per_block.",
    )
    quantization_scheme: QuantizationScheme = option(
        default=QuantizationScheme.symmetric,
        doc="symmetric: range around zero. affine: from minimum to maximum, with a zero point.",
    )
    block_size: int | None = option(
        default=None, ge=1, doc="Number of input channels of an output channel that share a scale, for per_block."
    )
    block_fallback: Literal["skip", "per_channel"] = option(
        default="skip",
        doc="If block_size does not divide a weight: skip the weight, or give it a scale per channel.",
    )
    processing_group_size: int = option(
        default=128,
        ge=1,
        doc="Most columns among which the weights to prune are chosen at a time. Small weights have fewer: a sixteenth "
        "of theirs; n_m_ratio has m.",
    )
    algorithm: Literal["sparse_gpt"] = option(default="sparse_gpt", doc="Name of the algorithm.")

    @property
    def weight_n_bits(self) -> int:
        """The number of bits of a weight."""
        return self.weight_dtype.bits

    @property
    def quantizes(self) -> bool:
        """Whether kept weights become integers."""
        return not self.weight_dtype.is_float

    @property
    def scale_granularity(self) -> QuantizationGranularity:
        """The granularity that is meant: a block size says that blocks are."""
        return self.quantization_granularity if self.block_size is None else QuantizationGranularity.per_block

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read the other spelling of the algorithm's name."""
        return {**data, "algorithm": "sparse_gpt"} if data.get("algorithm") == "sparsegpt" else data

    @classmethod
    def amend_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with the other spelling of the algorithm's name."""
        schema["properties"]["algorithm"] = {
            "enum": ["sparse_gpt", "sparsegpt"],
            "description": schema["properties"]["algorithm"].get("description", ""),
        }
        return schema

    def problems(self) -> Iterable[Problem]:
        """Refuse ratios that no group can have, and sizes without blocks."""
        if self.n_m_ratio is not None:
            zeros, group = self.n_m_ratio
            if not 0 <= zeros < group:
                yield Problem("n_m_ratio", f"{zeros}:{group} is no ratio of n zeros in m weights; give 0 <= n < m")
            if self.sparsity_block_size > 1:
                yield Problem(
                    "sparsity_block_size",
                    f"{self.sparsity_block_size} cannot be combined with n_m_ratio; leave it at 1",
                )
        is_blockwise = self.quantization_granularity is QuantizationGranularity.per_block
        if is_blockwise and self.block_size is None:
            yield Problem("block_size", "quantization_granularity per_block needs a block_size")
        if self.quantization_granularity is QuantizationGranularity.per_tensor and self.block_size is not None:
            yield Problem("block_size", f"{self.block_size} needs quantization_granularity per_block; it is per_tensor")


@layered
class SparseGPTConfig(CalibratedConfig):
    """Configure which modules to prune by SparseGPT, how, and with how much calibration data."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleSparseGPTConfig
