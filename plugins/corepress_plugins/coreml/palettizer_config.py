"""Configuration of `palettize_weights`."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from corepress.config import Problem, configuration, option
from corepress.errors import ConfigError
from corepress_plugins.coreml.op_config import CompressionGranularity, OpCompressorConfig
from corepress_plugins.palettization.custom.functions import imported, reference_to
from corepress_plugins.palettization.table_config import INDEX_BITS

_NEED_BITS = ("kmeans", "uniform")


@configuration
class OpPalettizerConfig(OpCompressorConfig):
    """Configure how to palettize the weights of an operation. `n_bits` is another name for `nbits`."""

    positional: ClassVar[tuple[str, ...]] = (
        "mode",
        "nbits",
        "lut_function",
        "granularity",
        "group_size",
        "channel_axis",
        "cluster_dim",
        "enable_per_channel_scale",
        "num_kmeans_workers",
        "weight_threshold",
    )

    mode: str = option(
        default="kmeans",
        one_of=("kmeans", "uniform", "unique", "custom"),
        doc="How to compute LUTs: by k-means, equally spaced, without loss, or by lut_function. Case-insensitive.",
    )
    nbits: int | None = option(
        default=None, one_of=INDEX_BITS, doc="Bits of an index, for kmeans and uniform: a LUT has 2 ** nbits entries."
    )
    lut_function: Any = option(
        default=None,
        doc="For custom: f(values of a group, channel axis first) -> (lut, indices), "
        'or "package.module:function". A function that can be imported is stored as such a reference.',
    )
    granularity: CompressionGranularity = option(
        default=CompressionGranularity.PER_TENSOR,
        one_of=(CompressionGranularity.PER_TENSOR, CompressionGranularity.PER_GROUPED_CHANNEL),
        doc="One LUT per tensor, or one per group of channels.",
    )
    group_size: int = option(
        default=32, ge=0, doc="Number of channels that share a LUT, for per_grouped_channel; 0 = all channels."
    )
    channel_axis: int | None = option(
        default=None, doc="Axis of groups and vectors; None = the axis of the output channels."
    )
    cluster_dim: int = option(default=1, ge=1, doc="Length of the vectors in a LUT; 1 = scalars.")
    enable_per_channel_scale: bool = option(
        default=False, doc="For kmeans: divide each output channel by its largest magnitude before clustering."
    )
    num_kmeans_workers: int = option(
        default=1, ge=1, doc="Number of weights to cluster in parallel; 1 = one per core. Results do not depend on it."
    )

    @property
    def n_bits(self) -> int | None:
        """The same as `nbits`."""
        return self.nbits

    @property
    def algorithm(self) -> str:
        """The mode: each one is an algorithm."""
        return self.mode

    @property
    def groups_channels(self) -> bool:
        """Whether groups of channels have tables of their own."""
        return self.granularity is CompressionGranularity.PER_GROUPED_CHANNEL and self.group_size > 0

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read `n_bits` as `nbits`, and a function that can be imported as the reference to it."""
        data = dict(super().shorthand(data))
        if "n_bits" in data:
            n_bits = data.pop("n_bits")
            if "nbits" in data and data["nbits"] != n_bits:
                raise ConfigError(f"nbits {data['nbits']!r} and n_bits {n_bits!r} are one option; give one of them")
            data["nbits"] = n_bits
        reference = reference_to(data.get("lut_function"))
        return data if reference is None else {**data, "lut_function": reference}

    def problems(self) -> Iterable[Problem]:
        """Refuse options that the mode cannot use, and vectors that groups or scales would tear."""
        if self.mode in _NEED_BITS and self.nbits is None:
            widths = ", ".join(map(str, INDEX_BITS))
            yield Problem("nbits", f"mode {self.mode!r} needs a number of bits: one of {widths}")
        if self.mode not in _NEED_BITS and self.nbits is not None:
            yield Problem("nbits", f"mode {self.mode!r} finds the number of bits itself; leave out {self.nbits}")
        yield from self._function_problems()
        if self.enable_per_channel_scale and self.mode != "kmeans":
            yield Problem("enable_per_channel_scale", f"needs mode 'kmeans'; it is {self.mode!r}")
        if self.cluster_dim == 1:
            return
        if self.mode == "uniform":
            yield Problem("cluster_dim", f"{self.cluster_dim}: vectors cannot be equally spaced; use mode 'kmeans'")
        if self.enable_per_channel_scale:
            yield Problem("cluster_dim", f"{self.cluster_dim} cannot be combined with enable_per_channel_scale")
        if self.groups_channels and self.group_size % self.cluster_dim:
            yield Problem(
                "cluster_dim", f"{self.cluster_dim} does not divide group_size {self.group_size}; vectors fill groups"
            )

    def _function_problems(self) -> Iterable[Problem]:
        if self.mode != "custom":
            if self.lut_function is not None:
                yield Problem("lut_function", f"needs mode 'custom'; it is {self.mode!r}")
        elif self.lut_function is None:
            yield Problem("lut_function", "mode 'custom' needs a function f(values) -> (lut, indices)")
        elif isinstance(self.lut_function, str):
            try:
                imported(self.lut_function)
            except ConfigError as error:
                yield Problem("lut_function", str(error))
        elif not callable(self.lut_function):
            yield Problem("lut_function", f"must be a function or 'package.module:function', got {self.lut_function!r}")

    def module_options(self, *, portable: bool) -> dict[str, Any]:
        """Return the options of the algorithm's own configuration; `portable` chooses no 3-bit indices."""
        options: dict[str, Any] = {
            "weight_threshold": self.size_threshold,
            "granularity": "per_grouped_channel" if self.groups_channels else "per_tensor",
            "group_size": self.group_size if self.groups_channels else None,
            "tensor_axis": self.channel_axis,
        }
        if self.mode in _NEED_BITS:
            options["n_bits"] = self.nbits
        else:
            options["portable"] = portable
        if self.mode != "uniform":
            options["cluster_dim"] = self.cluster_dim
        if self.mode == "kmeans":
            options["enable_per_channel_scale"] = self.enable_per_channel_scale
        if self.mode == "custom":
            options["lut_function"] = self.lut_function
        return options

    def as_dict(self) -> dict[str, Any]:
        """Return every option as plain values; ConfigError for a function that cannot be imported."""
        if self.lut_function is not None and not isinstance(self.lut_function, str):
            name = getattr(self.lut_function, "__qualname__", None) or repr(self.lut_function)
            raise ConfigError(
                f"lut_function {name} cannot be written down, because it cannot be imported; "
                "define it at the top level of a module"
            )
        return super().as_dict()

    def reference_options(self) -> dict[str, Any]:
        """Return the options as the passes of coremltools take them: a function as such, not the reference to it."""
        function = imported(self.lut_function) if isinstance(self.lut_function, str) else self.lut_function
        return {**super().as_dict(), "lut_function": function}
