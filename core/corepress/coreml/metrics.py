"""Metrics: how well outputs agree with targets, by name or by a function of the user."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from corepress.config.suggestions import did_you_mean, listed
from corepress.errors import ConfigError, ExportError

Metric: TypeAlias = str | Callable[[Any, Any], Any]
"""The name of a metric, or a function of outputs and target."""


def metric_of(metric: Metric, description: Any) -> Callable[[Any, Any], Any]:
    """Return the function of outputs and target that a metric stands for, for a model of this description.

    Raises ConfigError for an unknown name, and ExportError for one that does not fit the outputs of the model.
    """
    if callable(metric):
        return metric
    if not isinstance(metric, str) or metric not in _METRICS:
        hint = did_you_mean(metric, _METRICS)
        raise ConfigError(f"metric must be one of {listed(_METRICS)}, or a function, not {metric!r}{hint}")
    label = description.predictedFeatureName
    if label and metric in _OF_CLASSIFIERS:
        wanted = {"accuracy": label, "top5": description.predictedProbabilitiesName}[metric]
        return lambda outputs, target: _OF_CLASSIFIERS[metric](outputs[wanted], target)
    names = [feature.name for feature in description.output]
    if len(names) > 1:
        raise ExportError(f"metric {metric!r} is for one output, the package has {listed(names)}; give a function")
    return _METRICS[metric]


def value_of(result: Any) -> float:
    """Return what a metric has returned as a number; arrays and tensors count as their mean."""
    found = result.detach().cpu().numpy() if isinstance(result, Tensor) else np.asarray(result)
    if found.dtype.kind not in "fiub" or not found.size:
        raise ExportError(f"the metric must return a number or an array of numbers, not {result!r}")
    return float(found.mean(dtype=np.float64))


def _array(target: Any) -> Any:
    return target.detach().cpu().numpy() if isinstance(target, Tensor) else np.asarray(target)


def _accuracy(outputs: Any, target: Any) -> Any:
    wanted = _array(target)
    if outputs.dtype.kind in "iub" and outputs.shape == wanted.shape:
        return np.mean(outputs == wanted)
    return _top(outputs, wanted, 1)


def _top5(outputs: Any, target: Any) -> Any:
    return _top(outputs, _array(target), 5)


def _top(scores: Any, target: Any, count: int) -> Any:
    """Return the share of targets among the `count` largest scores; of equal scores the first class counts."""
    wanted = target.reshape(1) if not target.ndim and scores.ndim > 1 else target
    layouts = [np.moveaxis(scores, 1, -1), scores] if scores.ndim > 1 else [scores]
    by_class = next((layout for layout in layouts if layout.ndim and layout.shape[:-1] == wanted.shape), None)
    if by_class is None or wanted.dtype.kind not in "iu":
        raise ExportError(
            f"an output of shape {scores.shape} has scores of classes along axis 1 or the last one; the target must "
            f"hold class numbers and have the other axes, not {target.dtype} of shape {target.shape}"
        )
    classes = by_class.shape[-1]
    if wanted.size and not 0 <= wanted.min() <= wanted.max() < classes:
        wrong = wanted.min() if wanted.min() < 0 else wanted.max()
        raise ExportError(f"the target has class {wrong}, the output has scores of classes 0 to {classes - 1}")
    wanted = wanted[..., None].astype(np.int64)
    score = np.take_along_axis(by_class, wanted, -1)
    before = (by_class > score) | ((by_class == score) & (np.arange(classes) < wanted))
    return ((before.sum(-1) < count) & ~np.isnan(score[..., 0])).mean()


def _mse(outputs: Any, target: Any) -> Any:
    wanted = _array(target)
    if outputs.shape != wanted.shape:
        raise ExportError(f"the target must have the shape of the output, {outputs.shape}, not {wanted.shape}")
    return np.mean(np.square(outputs.astype(np.float64) - wanted))


def _label_accuracy(labels: Any, target: Any) -> Any:
    return np.mean(labels == _labels(target, labels))


def _label_top5(probabilities: list[Mapping[Any, float]], target: Any) -> Any:
    first = [sorted(each, key=lambda label: -each[label])[:5] for each in probabilities]
    wanted = _labels(target, np.array([next(iter(each)) for each in probabilities]))
    return np.mean([label in best for label, best in zip(wanted.tolist(), first, strict=True)])


def _labels(target: Any, like: Any) -> Any:
    """Return the target labels, one for each label in `like` and of its kind."""
    wanted = np.atleast_1d(_array(target))
    if wanted.shape != like.shape or (wanted.dtype.kind == "U") != (like.dtype.kind == "U"):
        kind = "strings" if like.dtype.kind == "U" else "integers"
        raise ExportError(
            f"the target must hold {len(like)} class labels, {kind} like {like[0].item()!r}, "
            f"not {wanted.dtype} of shape {wanted.shape}"
        )
    return wanted


_METRICS: dict[str, Callable[[Any, Any], Any]] = {"accuracy": _accuracy, "top5": _top5, "mse": _mse}
_OF_CLASSIFIERS: dict[str, Callable[[Any, Any], Any]] = {"accuracy": _label_accuracy, "top5": _label_top5}
