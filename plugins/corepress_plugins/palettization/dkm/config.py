"""Configuration of differentiable k-means."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from corepress.config import CompressionConfig, DType, ModuleConfig, Problem, configuration, layered, option
from corepress_plugins.palettization.table_config import INDEX_BITS, ModuleVectorTableConfig

Gradient = Literal["recorded", "fixed_point"]
Mode = Literal["dkm", "gsm", "hard"]
Start = Literal["auto", "opt1d", "kmeans++", "cpu.kmeans++", "cpu.minibatch", "nf", "nf_fit"]
ScaleScheme = Literal["min_max", "abs"]

_LUT_DTYPES = (DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.INT8, DType.UINT8)
_ACCEPTED = "Accepted for compatibility: "


@configuration
class ModuleDKMPalettizerConfig(ModuleVectorTableConfig):
    """Configure how to palettize the weights of a module during training.

    The default temperature and thresholds are meant for weights with four centroids and a squared error of 2.9e-4 per
    value. corepress rescales every group to this error. The defaults therefore fit weights of any magnitude and
    distribution, and any number of centroids.
    """

    positional: ClassVar[tuple[str, ...]] = (
        "n_bits",
        "weight_threshold",
        "granularity",
        "group_size",
        "channel_axis",
        "enable_per_channel_scale",
        "milestone",
        "cluster_dim",
        "quant_min",
        "quant_max",
        "dtype",
        "lut_dtype",
        "quantize_activations",
        "cluster_permute",
    )

    n_bits: int | None = option(
        default=None,
        one_of=INDEX_BITS,
        doc="Bits of an index: a LUT has 2 ** n_bits entries. Default: 4 for Linear, 2 for other known layers.",
    )
    weight_threshold: int | None = option(
        default=2048, ge=0, doc="Skip weights with at most this many elements. None: skip no weight for its size."
    )
    channel_axis: int = option(default=0, one_of=(0,), doc="Axis of groups and vectors: 0 = output channels.")
    enable_per_channel_scale: bool = option(
        default=False, doc="Divide each output channel by its own scale before clustering."
    )
    per_channel_scaling_factor_scheme: ScaleScheme = option(
        default="min_max", doc="The scale of a channel: half its range (min_max), or its largest magnitude (abs)."
    )
    milestone: int = option(
        default=0, ge=0, doc="Palettize once `step` was called more than this many times; 0 = from the beginning."
    )
    lut_dtype: DType = option(
        default=DType.FLOAT32, one_of=_LUT_DTYPES, doc="Type of the LUT entries, in training and in the package."
    )
    quant_min: int = option(default=-128, ge=-128, lt=0, doc="Smallest integer in an 8-bit LUT.")
    quant_max: int = option(default=127, gt=0, le=127, doc="Largest integer in an 8-bit LUT.")
    dtype: DType = option(
        default=DType.INT8, one_of=(DType.INT8, DType.UINT8, DType.FLOAT32), doc="Type of quantized activations."
    )
    quantize_activations: bool = option(
        default=False, doc="Quantize activations to `dtype` in training: one scale each, from observed ranges."
    )
    cluster_permute: tuple[int, ...] | None = option(
        default=None,
        doc="Permutation of the axes of the weight. Groups, vectors and scales run along the first permuted axis.",
    )
    palett_mode: Mode = option(
        default="dkm",
        doc="Attention between weights and centroids: softmax (dkm), Gumbel softmax (gsm), or one-hot (hard).",
    )
    palett_tau: float = option(
        default=1e-4,
        gt=0,
        doc="Temperature of the softmax over negative squared distances. It is reduced for more than 8 centroids.",
    )
    palett_epsilon: float = option(
        default=1e-4, ge=0, doc="Stop iterating when the relative change of the squared error is at most this."
    )
    zero_threshold: float = option(
        default=1e-7, ge=0, lt=1, doc="Minimum total attention of the weights of a group to a centroid."
    )
    kmeans_max_iter: int = option(default=3, ge=0, doc="Maximum number of k-means iterations in a forward pass.")
    gradient: Gradient = option(
        default="recorded",
        doc="How gradients flow through the centroids to the weights. recorded: through every iteration. fixed_point: "
        "iterate until convergence, and use implicit gradients at the fixed point.",
    )
    kmeans_init: Start = option(
        default="auto",
        doc="Initial centroids. auto, opt1d: optimal for scalars, k-means++ for vectors. Names with kmeans++ or "
        "minibatch: k-means++ with Lloyd's iterations. nf: quantiles of a normal distribution, scaled to the largest "
        "magnitude. nf_fit: these quantiles, raised to the power that fits best.",
    )
    enforce_zero: bool = option(default=False, doc="Fix the centroid nearest to zero at exactly zero.")
    add_extra_centroid: bool = option(
        default=False,
        doc="Add a centroid fixed at zero to the 2 ** n_bits centroids. Indices use the next larger bit width.",
    )
    prune_threshold: float = option(
        default=1e-7, ge=0, doc="Amount to subtract from the squared distance to a centroid fixed at zero."
    )
    palett_cluster_tol: float = option(
        default=0.0, ge=0, le=1, doc="Fraction of centroids that can be equal. If more are equal, they are moved apart."
    )
    percentage_palett_enable: float = option(
        default=1.0,
        ge=0,
        le=1,
        doc="Fraction of the groups, at least one, with trained assignments. The other groups use their nearest "
        "centroids and straight-through gradients.",
    )
    kmeans_n_init: int = option(default=10, ge=1, doc=_ACCEPTED + "k-means++ chooses the number of starts itself.")
    kmeans_opt1d_threshold: int = option(default=1024, ge=0, doc=_ACCEPTED + "the optimum is cheap for every size.")
    kmeans_batch_threshold: int = option(default=4, ge=0, doc=_ACCEPTED + "all groups are clustered in one batch.")
    kmeans_error_bnd: float = option(default=0.0, ge=0, doc=_ACCEPTED + "palett_epsilon stops the iterations.")
    palett_lambda: float = option(default=0.0, doc=_ACCEPTED + "it has no effect in the reference either.")
    palett_max_mem: float = option(default=1.0, gt=0, le=1, doc=_ACCEPTED + "memory is small without it.")
    palett_min_tsize: int = option(default=65536, ge=0, doc=_ACCEPTED + "memory is small without it.")
    palett_unique: bool = option(default=False, doc=_ACCEPTED + "attention always uses distinct values.")
    palett_shard: bool = option(default=False, doc=_ACCEPTED + "attention over distinct values needs no shards.")
    palett_batch_mode: bool = option(default=False, doc=_ACCEPTED + "all groups are always one batch.")
    palett_dist: bool = option(default=False, doc=_ACCEPTED + "every process computes the same palettes.")

    @property
    def lut_steps(self) -> int:
        """The integer that stands for the largest magnitude of an 8-bit table."""
        return min(self.quant_max, -self.quant_min)

    @property
    def has_zero(self) -> bool:
        """Whether a centroid is fixed at zero."""
        return self.enforce_zero or self.add_extra_centroid

    def bits_for(self, kind: str) -> int:
        """Return the bits of an index for a kind of module."""
        return self.n_bits or (2 if kind.startswith("conv") or kind in _TWO_BITS else 4)

    def index_bits_for(self, kind: str) -> int:
        """Return the bits that indices are stored with: those of the next width for an extra centroid."""
        bits = self.bits_for(kind)
        return min(width for width in INDEX_BITS if width > bits) if self.add_extra_centroid else bits

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read `cluster_dtype`, the older name, as `lut_dtype`."""
        if "cluster_dtype" not in data or "lut_dtype" in data:
            return data
        return {"lut_dtype" if name == "cluster_dtype" else name: value for name, value in data.items()}

    @classmethod
    def amend_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with the older name of `lut_dtype`."""
        reference = {"$ref": f"#/$defs/{cls.__name__}/properties/lut_dtype", "description": "Older name of lut_dtype."}
        schema["properties"]["cluster_dtype"] = reference
        return schema

    def problems(self) -> Iterable[Problem]:
        """Refuse what no tables can have, and options that leave no room for each other."""
        yield from super().problems()
        if self.cluster_permute is not None and sorted(self.cluster_permute) != [*range(len(self.cluster_permute))]:
            yield Problem(
                "cluster_permute",
                f"{list(self.cluster_permute)} is no permutation of the axes 0, 1, ...; name each once",
            )
        if self.cluster_permute is not None and self.tensor_axis is not None:
            yield Problem("cluster_permute", "tensor_axis names the axis of groups already; give only one of them")
        if self.enforce_zero and self.add_extra_centroid:
            yield Problem("add_extra_centroid", "the extra centroid is a zero already; leave enforce_zero out")
        if self.add_extra_centroid and self.n_bits == max(INDEX_BITS):
            yield Problem(
                "add_extra_centroid", f"indices of {self.n_bits} bits have no room for one more; use fewer bits"
            )
        if self.gradient == "fixed_point" and self.palett_mode == "gsm":
            yield Problem("gradient", "palett_mode 'gsm' draws anew in every iteration and has no fixed point")
        if self.vector_length > 1 and self.enable_per_channel_scale:
            yield Problem("cluster_dim", f"{self.cluster_dim} cannot be combined with enable_per_channel_scale")
        if self.vector_length > 1 and self.kmeans_init.startswith("nf"):
            yield Problem(
                "kmeans_init", f"{self.kmeans_init!r} starts are for scalars; cluster_dim is {self.cluster_dim}"
            )


_TWO_BITS = frozenset({"layer_norm", "attention", "embedding"})


@layered
class DKMPalettizerConfig(CompressionConfig[ModuleDKMPalettizerConfig]):
    """Configure which modules to palettize during training, and how: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleDKMPalettizerConfig
