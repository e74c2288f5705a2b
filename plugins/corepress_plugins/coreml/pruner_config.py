"""Configuration of `prune_weights`."""

from collections.abc import Iterable
from typing import Any, ClassVar

from corepress.config import Problem, configuration, option
from corepress_plugins.coreml.op_config import OpCompressorConfig


@configuration
class OpThresholdPrunerConfig(OpCompressorConfig):
    """Configure how to prune the weights of an operation by a magnitude threshold."""

    positional: ClassVar[tuple[str, ...]] = (
        "threshold",
        "minimum_sparsity_percentile",
        "weight_threshold",
    )

    threshold: float = option(default=1e-12, ge=0, doc="Weights with at most this magnitude become zero.")
    minimum_sparsity_percentile: float = option(
        default=0.5, ge=0, le=1, doc="Minimum fraction of zeros. A tensor with fewer zeros stays dense and unchanged."
    )

    @property
    def algorithm(self) -> str:
        """The name of the algorithm."""
        return "threshold"

    def module_options(self, *, portable: bool) -> dict[str, Any]:  # noqa: ARG002
        """Return the options of the algorithm's own configuration."""
        return {
            "weight_threshold": self.size_threshold,
            "threshold": self.threshold,
            "minimum_sparsity_percentile": self.minimum_sparsity_percentile,
        }


@configuration
class OpMagnitudePrunerConfig(OpCompressorConfig):
    """Configure how to prune the weights of an operation by magnitude: `target_sparsity` or `n_m_ratio`."""

    positional: ClassVar[tuple[str, ...]] = (
        "target_sparsity",
        "block_size",
        "n_m_ratio",
        "dim",
        "weight_threshold",
    )

    target_sparsity: float | None = option(default=None, ge=0, le=1, doc="Fraction of zeros.")
    block_size: int | None = option(
        default=None, ge=2, doc="Number of consecutive channels along `dim` whose weights are pruned together."
    )
    n_m_ratio: tuple[int, int] | None = option(
        default=None, ge=0, doc="(n, m): prune the n smallest of every m weights along `dim`."
    )
    dim: int | None = option(
        default=None,
        one_of=(0, 1),
        doc="Axis: 0 = output channels (default for block_size), 1 = input channels (default for n_m_ratio).",
    )

    @property
    def algorithm(self) -> str:
        """The name of the algorithm."""
        return "magnitude"

    @property
    def structured(self) -> bool:
        """Whether weights fall in blocks or ratios, which pay off in convolutions and linear layers only."""
        return self.block_size is not None or self.n_m_ratio is not None

    def problems(self) -> Iterable[Problem]:
        """Refuse two targets or none, ratios that no group can have, and options without what they are about."""
        if self.target_sparsity is None and self.n_m_ratio is None:
            yield Problem("target_sparsity", "give target_sparsity or n_m_ratio")
        if self.target_sparsity is not None and self.n_m_ratio is not None:
            yield Problem("target_sparsity", "cannot be combined with n_m_ratio, which says how many become zero")
        if self.block_size is not None and self.n_m_ratio is not None:
            yield Problem("block_size", "cannot be combined with n_m_ratio; give one of them")
        if self.dim is not None and not self.structured:
            yield Problem("dim", f"{self.dim} needs a block_size or an n_m_ratio")
        if self.n_m_ratio is not None:
            zeros, group = self.n_m_ratio
            if not 0 < group >= zeros:
                yield Problem("n_m_ratio", f"{zeros}:{group} is no ratio of n zeros in m weights; give 0 <= n <= m")

    def module_options(self, *, portable: bool) -> dict[str, Any]:  # noqa: ARG002
        """Return the options of the algorithm's own configuration."""
        options: dict[str, Any] = {"weight_threshold": self.size_threshold}
        if self.n_m_ratio is not None:
            zeros, group = self.n_m_ratio
            if zeros == group:
                return options | {"target_sparsity": 1.0}
            return options | {"n_m_ratio": self.n_m_ratio, "dim": 1 if self.dim is None else self.dim, "min_blocks": 2}
        options["target_sparsity"] = self.target_sparsity
        if self.block_size is not None:
            options |= {"block_size": self.block_size, "block_dim": self.dim or 0, "min_blocks": 2}
        return options
