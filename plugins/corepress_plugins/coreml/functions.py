"""The functions that compress a Core ML program; each runs one pipeline."""

from collections.abc import Mapping, Sequence
from typing import Any

from corepress.config import raise_problems
from corepress.coreml import CoreMLTarget, decompress
from corepress.errors import ConfigError
from corepress.pipeline import Pipeline, Report
from corepress.warn import warn_user
from corepress_plugins.coreml.op_config import OpCompressorConfig
from corepress_plugins.coreml.optimization_config import OptimizationConfig
from corepress_plugins.coreml.palettizer_config import OpPalettizerConfig
from corepress_plugins.coreml.pruner_config import OpMagnitudePrunerConfig, OpThresholdPrunerConfig
from corepress_plugins.coreml.quantizer_config import OpLinearQuantizerConfig, activation_problems
from corepress_plugins.coreml.stages import activation_stage, weight_stages

_MOST_TOLD = 3


def palettize_weights(
    mlmodel: Any,
    config: OptimizationConfig,
    joint_compression: bool = False,
) -> Any:
    """Return a new MLModel whose weights are indices into look-up tables.

    Args:
        mlmodel: an MLModel, or the path of an `.mlpackage`; it is not touched.
        config: holds `OpPalettizerConfig`s.
        joint_compression: compress further what is compressed already, such as the kept values of a sparse weight, or
            refuse it where that cannot be. Without it, such weights are left alone with a warning, unless the
            configuration names them.

    Raises:
        ConfigError, PlanError, WeightError: before any work is done.
        ExportError: the model is no ML program.
    """
    _check(config, OpPalettizerConfig)
    workers = [op.num_kmeans_workers for _, op in config.op_configs() if isinstance(op, OpPalettizerConfig)]
    many = max(workers, default=1)
    return _compressed(mlmodel, config, joint_compression, workers=many if many > 1 else None)


def linear_quantize_weights(
    mlmodel: Any,
    config: OptimizationConfig,
    joint_compression: bool = False,
) -> Any:
    """Return a new MLModel whose weights are integers with scales; see `palettize_weights`.

    `config` holds `OpLinearQuantizerConfig`s. With `joint_compression`, the tables of palettized weights are quantized,
    and the kept values of sparse ones.
    """
    _check(config, OpLinearQuantizerConfig)
    return _compressed(mlmodel, config, joint_compression)


def prune_weights(
    mlmodel: Any,
    config: OptimizationConfig,
    joint_compression: bool = False,
) -> Any:
    """Return a new MLModel whose weights are sparse; see `palettize_weights`.

    `config` holds `OpMagnitudePrunerConfig`s and `OpThresholdPrunerConfig`s. With `joint_compression`, palettized and
    quantized weights are pruned as well.
    """
    _check(config, OpMagnitudePrunerConfig, OpThresholdPrunerConfig)
    return _compressed(mlmodel, config, joint_compression)


def linear_quantize_activations(
    mlmodel: Any,
    config: OptimizationConfig,
    sample_data: Sequence[Mapping[str, Any]],
    calibration_op_group_size: int = -1,  # noqa: ARG001
) -> Any:
    """Return a new MLModel whose activations are quantized to 8 bits, with ranges calibrated on this machine's CPU.

    Args:
        mlmodel: an MLModel, or the path of an `.mlpackage`; it is not touched.
        config: holds `OpLinearQuantizerConfig`s of 8 bits.
        sample_data: samples, each with an array for every input of the model by name.
        calibration_op_group_size: accepted for compatibility; all operations are calibrated at once.

    Raises:
        ConfigError, PlanError: before any work is done.
        ExportError: the model is no ML program.
    """
    _check(config, OpLinearQuantizerConfig)
    raise_problems(
        [
            problem.under(path)
            for path, op in config.op_configs()
            if isinstance(op, OpLinearQuantizerConfig)
            for problem in activation_problems(op)
        ],
        subject="linear_quantize_activations",
    )
    if not any(config.op_configs()):
        return CoreMLTarget(mlmodel).result()
    return Pipeline([activation_stage(config)]).compress(CoreMLTarget(mlmodel, activations=True), data=sample_data)


def decompress_weights(mlmodel: Any) -> Any:
    """Return a new MLModel whose compressed weights are plain constants of the values that they decode to.

    `mlmodel` is an MLModel or the path of an `.mlpackage`.
    """
    return decompress(mlmodel)


def _compressed(mlmodel: Any, config: OptimizationConfig, joint_compression: bool, workers: int | None = None) -> Any:
    target = CoreMLTarget(mlmodel)
    stages = weight_stages(config, target, joint=joint_compression)
    if not stages:
        return target.result()
    pipeline = Pipeline(stages)
    result = pipeline.compress(target, workers=workers)
    _tell_grown(pipeline.report())
    return result


def _tell_grown(report: Report) -> None:
    """Say which weights have become larger than they were dense; nobody else sees the report."""
    grown = [
        f"{row.name}: {row.bytes_after} bytes, {row.bytes_before} when dense"
        for row in report.done
        if (row.bytes_after or 0) > row.bytes_before
    ]
    if grown:
        more = f"; and {len(grown) - _MOST_TOLD} more" if len(grown) > _MOST_TOLD else ""
        warn_user(f"larger than before: {'; '.join(grown[:_MOST_TOLD])}{more}")


def _check(config: object, *accepted: type[OpCompressorConfig]) -> None:
    if isinstance(config, OpCompressorConfig):
        raise ConfigError(
            f"config must be an OptimizationConfig; give OptimizationConfig({type(config).__name__}(...))"
        )
    if not isinstance(config, OptimizationConfig):
        raise ConfigError(f"config must be an OptimizationConfig, got {config!r}")
    wrong = [(path, type(op).__name__) for path, op in config.op_configs() if not isinstance(op, accepted)]
    if wrong:
        wanted = " or ".join(cls.__name__ for cls in accepted)
        problems = [f"{path}: must be an {wanted}, got an {name}" for path, name in wrong]
        raise ConfigError("\n  ".join([f"{len(wrong)} problems", *problems] if len(wrong) > 1 else problems), problems)
