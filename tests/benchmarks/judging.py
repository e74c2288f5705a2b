"""Figures of a compressed model: the error of its weights, the bytes of its package."""

import tempfile
from pathlib import Path

import torch
from tests.benchmarks import cifar
from torch import Tensor, nn


def relative_error(model: nn.Module, compressed: nn.Module) -> float:
    """Return the Euclidean distance of all matrices and kernels, relative to their norm."""
    noise = signal = 0.0
    others = dict(compressed.named_parameters())
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            noise += float((parameter.detach().double() - others[name].detach().double()).square().sum())
            signal += float(parameter.detach().double().square().sum())
    return (noise / signal) ** 0.5


def bytes_of_package(model: nn.Module, example: Tensor, system: str) -> int:
    """Return the size of the weight file of the exported package, by each system's own way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mlpackage"
        _converted(model.eval(), example, system).save(str(path))
        return next(path.rglob("weight.bin")).stat().st_size


def judge_accuracy(model: nn.Module, compressed: nn.Module, system: str) -> dict[str, float]:
    """Return error, bytes and the accuracy on CIFAR-10's test images."""
    return {
        "error": relative_error(model, compressed),
        "bytes": bytes_of_package(compressed, torch.rand(1, 3, 32, 32), system),
        "accuracy": cifar.accuracy(compressed),
    }


def _converted(model: nn.Module, example: Tensor, system: str):
    if system == "corepress":
        from corepress import coreml

        return coreml.convert(model, example, minimum_deployment_target="iOS18")
    import coremltools as ct

    with torch.no_grad():
        traced = torch.jit.trace(model, example)
    return ct.convert(
        traced,
        inputs=[ct.TensorType(shape=example.shape)],
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
    )
