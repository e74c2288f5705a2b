"""Translation: the stages of a pipeline that do what an optimization configuration asks."""

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from corepress.config import CompressionConfig, Rules, layered
from corepress.coreml import CoreMLTarget, CoreMLWeight, DeploymentTarget
from corepress.encoding import AffineForm, CompositionError, DenseForm, PaletteForm, SparseForm, compose_forms
from corepress.errors import ExportError
from corepress.pipeline import Stage
from corepress.plugin import registry
from corepress.targets.support import check
from corepress.warn import warn_user
from corepress_plugins.coreml.op_config import OpCompressorConfig
from corepress_plugins.coreml.optimization_config import STRUCTURED_TYPES, OptimizationConfig

_TYPICAL = {"palette": PaletteForm(4), "affine": AffineForm(8), "sparsity": SparseForm(0.5)}


class _Translation(Protocol):
    """Gives the options of an algorithm for a configuration; None where that is about another algorithm."""

    def __call__(self, config: OpCompressorConfig) -> Mapping[str, Any] | None: ...


def weight_stages(config: OptimizationConfig, target: CoreMLTarget, sparing: str | None = None) -> list[Stage]:
    """Return one stage for each algorithm that the configuration asks for; no two of them reach the same weight.

    `sparing` names what the stages produce, where weights that cannot take it any more are to be left alone.
    """
    config = _with_structured_types(config, target)
    if sparing is not None:
        config = _sparing_finished(config, target, sparing)
    portable = target.deployment < DeploymentTarget.iOS18
    return [
        _stage(
            name, config, lambda op, name=name: op.module_options(portable=portable) if op.algorithm == name else None
        )
        for name in dict.fromkeys(op.algorithm for _, op in config.op_configs())
    ]


def activation_stage(config: OptimizationConfig) -> Stage:
    """Return the stage that quantizes activations as a configuration asks."""
    return _stage("activation", config, lambda op: {"quantization_scheme": op.scheme, "dtype": op.dtype})


def _with_structured_types(config: OptimizationConfig, target: CoreMLTarget) -> OptimizationConfig:
    """Return the configuration with a rule for all that is meant for some types written as rules for these."""
    default = config.global_config
    if default is None or not default.structured:
        return config
    present = {use.op.op_type for weight in target.weights() for use in weight.uses}
    own = {op_type: default for op_type in STRUCTURED_TYPES if op_type in present}
    return config.evolve(global_config=None, op_type_configs={**own, **config.op_type_configs})


def _sparing_finished(config: OptimizationConfig, target: CoreMLTarget, produces: str) -> OptimizationConfig:
    finished = [weight for weight in target.weights() if not _can_take(weight, produces, target.deployment)]
    left = {
        weight.name: None
        for weight in finished
        if not any(name in config.op_name_configs for alias in weight.subject.aliases for name in alias.names)
    }
    if left and any(config.op_configs()):
        warn_user(f"compressed already, and left alone: {', '.join(left)}")
    return config.evolve(op_name_configs={**config.op_name_configs, **left})


def _can_take(weight: CoreMLWeight, produces: str, deployment: DeploymentTarget) -> bool:
    try:
        now = weight.encoding().form
    except ExportError:
        # The plan says that it is stored in an unknown way.
        return True
    if isinstance(now, DenseForm):
        return True
    try:
        check(compose_forms(now, produces, _TYPICAL[produces]), deployment, program=True)
    except (CompositionError, ExportError):
        # Nothing can follow, or not in a program as old as this one.
        return False
    return True


def _stage(algorithm: str, config: OptimizationConfig, translate: _Translation) -> Stage:
    config_class = _named_by_operation(registry().find(algorithm).load_config())

    def translated(op: OpCompressorConfig | None) -> Any:
        options = None if op is None else translate(op)
        return None if options is None else config_class.module_config(**options)

    return Stage(
        algorithm,
        config_class(
            global_config=translated(config.global_config),
            module_type_configs={key: translated(op) for key, op in config.op_type_configs.items()},
            module_name_configs={key: translated(op) for key, op in config.op_name_configs.items()},
        ),
    )


@functools.cache
def _named_by_operation(config_class: type[CompressionConfig[Any]]) -> type[CompressionConfig[Any]]:
    """Return the class with rules that are called, in every message, as `OptimizationConfig` calls them."""

    def rules(self: CompressionConfig[Any]) -> Rules[Any]:
        return attrs.evolve(config_class.rules(self), name_section="op_name_configs", type_section="op_type_configs")

    return layered(type(config_class.__name__, (config_class,), {"rules": rules, "__annotations__": {}}))
