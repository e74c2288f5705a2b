"""Configuration of magnitude pruning."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal

from corepress.config import CompressionConfig, ModuleConfig, Problem, configuration, layered, option
from corepress_plugins.pruning.magnitude.schedule import ConstantSparsityScheduler, PolynomialDecayScheduler

Granularity = Literal["per_scalar", "per_kernel", "per_channel"]

_SCHEDULER_OPTIONS = {
    "update_steps": PolynomialDecayScheduler,
    "power": PolynomialDecayScheduler,
    "begin_step": ConstantSparsityScheduler,
}


_MATRIX = 2


@configuration
class ModuleMagnitudePrunerConfig(ModuleConfig):
    """Configure how to prune the weights of a module by magnitude.

    Pruning is unstructured by default. `granularity` prunes whole kernels or output channels. `block_size` prunes
    blocks of consecutive channels along `block_dim`. `n_m_ratio` prunes n out of every m weights along `dim`.
    """

    positional: ClassVar[tuple[str, ...]] = (
        "scheduler",
        "initial_sparsity",
        "target_sparsity",
        "granularity",
        "block_size",
        "n_m_ratio",
        "dim",
        "param_name",
    )

    scheduler: PolynomialDecayScheduler | ConstantSparsityScheduler = option(
        factory=lambda: ConstantSparsityScheduler(begin_step=0),
        doc="When the sparsity changes during training: `update_steps` (and `power`), or `begin_step`.",
    )
    initial_sparsity: float = option(default=0.0, ge=0, le=1, doc="Fraction of zeros at the beginning of training.")
    target_sparsity: float = option(
        default=0.5, ge=0, le=1, doc="Fraction of zeros at the end of training. With `n_m_ratio`, it is n / m."
    )
    granularity: Granularity = option(
        default="per_scalar",
        doc="Unit of pruning in convolutions: a single weight, a kernel, or all weights of an output channel. In other "
        "layers it is a single weight: an output channel there is a class or a feature.",
    )
    block_size: int = option(
        default=1,
        ge=1,
        doc="Number of consecutive channels whose weights at one position are pruned together.",
    )
    block_dim: int = option(
        default=0, one_of=(0, 1), doc="Axis of the blocks: 0 = output channels, 1 = input channels."
    )
    n_m_ratio: tuple[int, int] | None = option(
        default=None, doc="(n, m): prune the n smallest of every m weights; 0 <= n < m."
    )
    dim: int = option(
        default=1, one_of=(0, 1), doc="Axis of the groups of m weights: 1 = input channels, 0 = output channels."
    )
    min_blocks: int = option(
        default=0, ge=0, doc="Skip weights with fewer blocks, or groups of m, along their axis than this."
    )
    param_name: str = option(default="weight", doc="Name of the parameter of the module to prune.")

    def granularity_for(self, rank: int) -> Granularity:
        """Return the unit of pruning of a weight of so many axes."""
        return self.granularity if rank > _MATRIX else "per_scalar"

    @property
    def final_sparsity(self) -> float:
        """The level at the end of training: n / m if there is an n:m ratio, else `target_sparsity`."""
        if self.n_m_ratio is None:
            return self.target_sparsity
        zeros, group = self.n_m_ratio
        return zeros / group

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read a scheduler's options written beside an absent or empty `scheduler` as the scheduler."""
        beside = {name: value for name, value in data.items() if name in _SCHEDULER_OPTIONS}
        if not beside or data.get("scheduler") is not None:
            return data
        return {name: value for name, value in data.items() if name not in beside} | {"scheduler": beside}

    @classmethod
    def amend_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with a scheduler's options beside an absent or empty `scheduler`."""
        properties = schema["properties"]
        properties["scheduler"]["anyOf"].append({"type": "null"})
        for name, scheduler in _SCHEDULER_OPTIONS.items():
            reference = f"#/$defs/{scheduler.__name__}/properties/{name}"
            properties[name] = {"$ref": reference, "description": f"Short form: `{name}` of the scheduler."}
        none, empty = dict.fromkeys(_SCHEDULER_OPTIONS, False), {"scheduler": {"type": "null"}}
        inside = {"properties": none | {"scheduler": {"not": {"type": "null"}}}}
        polynomial = {"properties": empty | {"begin_step": False}, "required": ["update_steps"]}
        constant = {"properties": empty | {"update_steps": False, "power": False}, "required": ["begin_step"]}
        return schema | {"anyOf": [inside, polynomial, constant]}

    def problems(self) -> Iterable[Problem]:
        """Refuse ratios that no group can have, and options that leave no room for each other."""
        if self.block_dim == 1 and self.block_size == 1:
            yield Problem("block_dim", "1 needs a block_size of more than one channel")
        if self.block_dim == 1 and self.granularity == "per_channel":
            yield Problem("block_dim", "1 cuts output channels apart, which fall as one with granularity per_channel")
        if self.n_m_ratio is None:
            return
        zeros, group = self.n_m_ratio
        if not 0 <= zeros < group:
            yield Problem("n_m_ratio", f"{zeros}:{group} is no ratio of n zeros in m weights; give 0 <= n < m")
        for name, neutral in (("block_size", 1), ("granularity", "per_scalar"), ("initial_sparsity", 0.0)):
            if getattr(self, name) != neutral:
                yield Problem(
                    name, f"{getattr(self, name)!r} cannot be combined with n_m_ratio; leave it at {neutral!r}"
                )


@layered
class MagnitudePrunerConfig(CompressionConfig[ModuleMagnitudePrunerConfig]):
    """Configure which modules to prune by magnitude, and how: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleMagnitudePrunerConfig
