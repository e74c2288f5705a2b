"""Translation: the stages of a pipeline that do what an optimization configuration asks."""

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from corepress.config import CompressionConfig, Rules, layered
from corepress.coreml import CoreMLTarget, DeploymentTarget
from corepress.pipeline import Stage
from corepress.plugin import registry
from corepress.warn import warn_user
from corepress_plugins.coreml.op_config import OpCompressorConfig
from corepress_plugins.coreml.optimization_config import STRUCTURED_TYPES, OptimizationConfig


class _Translation(Protocol):
    """Gives the options of an algorithm for a configuration; None where that is about another algorithm."""

    def __call__(self, config: OpCompressorConfig) -> Mapping[str, Any] | None: ...


def weight_stages(config: OptimizationConfig, target: CoreMLTarget, *, joint: bool = True) -> list[Stage]:
    """Return one stage for each algorithm that the configuration asks for; no two of them reach the same weight.

    What is compressed already and not named in the configuration is left alone unless `joint`.
    """
    config = _with_structured_types(config, target)
    if not joint:
        config = _sparing_compressed(config, target)
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


def _sparing_compressed(config: OptimizationConfig, target: CoreMLTarget) -> OptimizationConfig:
    left = {
        weight.name: None
        for weight in target.weights()
        if weight.constant.compressed
        and not any(name in config.op_name_configs for alias in weight.subject.aliases for name in alias.names)
    }
    if left and any(config.op_configs()):
        warn_user(f"compressed already, and left alone: {', '.join(left)}")
    return config.evolve(op_name_configs={**config.op_name_configs, **left})


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
