"""Sample configurations in the manner of a pruner's, as a plugin author would write them."""

from collections.abc import Iterable, Mapping
from enum import Enum
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import pytest

from corepress.config import (
    CompressionConfig,
    Configuration,
    DType,
    ModuleConfig,
    Problem,
    configuration,
    layered,
    option,
)


class Granularity(Enum):
    PER_SCALAR = "per_scalar"
    PER_CHANNEL = "per_channel"


@configuration
class PolynomialScheduler(Configuration):
    """Raise the sparsity step by step."""

    update_steps: tuple[int, ...] = option(ge=0, doc="steps at which the sparsity changes")
    power: int = option(default=3, ge=1, doc="exponent of the curve")

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        steps = data.get("update_steps")
        return {**data, "update_steps": list(range(int(steps[6:-1])))} if isinstance(steps, str) else data


@configuration
class ConstantScheduler(Configuration):
    """Set the sparsity once."""

    begin_step: int = option(ge=0, doc="step at which pruning begins")


@configuration
class ModulePrunerConfig(ModuleConfig):
    """Say how one module is pruned."""

    scheduler: PolynomialScheduler | ConstantScheduler = option(
        factory=lambda: ConstantScheduler(begin_step=0), doc="when the sparsity changes"
    )
    target_sparsity: float = option(default=0.5, ge=0, le=1, doc="share of zeros")
    granularity: Granularity = option(default=Granularity.PER_SCALAR, doc="what is pruned as a whole")
    block_size: int | tuple[int, ...] = option(default=1, gt=0, doc="elements pruned together")
    n_m_ratio: tuple[int, int] | None = option(default=None, ge=0, doc="n zeros out of every m")
    dtype: DType | None = option(default=None, one_of=("int8", "uint8"), doc="format of what is kept")
    mode: Literal["hard", "soft"] = option(default="hard", doc="kind of mask")
    exact: bool = option(default=True, doc="whether ties are broken")
    param_name: str = option(default="weight", doc="parameter to prune")

    def problems(self) -> Iterable[Problem]:
        if self.n_m_ratio and self.block_size != 1:
            yield Problem("n_m_ratio", f"cannot be combined with block_size {self.block_size}; set it to 1")


@layered
class PrunerConfig(CompressionConfig[ModulePrunerConfig]):
    """Say how a model is pruned."""

    module_config: ClassVar[type[ModuleConfig]] = ModulePrunerConfig
    samples: int = option(default=128, ge=1, doc="number of samples")

    def problems(self) -> Iterable[Problem]:
        if len({config.param_name for config in self.module_configs()}) > 1:
            yield Problem("", "param_name must be the same everywhere")


@pytest.fixture(scope="session")
def sample() -> SimpleNamespace:
    return SimpleNamespace(
        Granularity=Granularity,
        Polynomial=PolynomialScheduler,
        Constant=ConstantScheduler,
        Module=ModulePrunerConfig,
        Pruner=PrunerConfig,
    )
