"""The job of sensitive k-means: gradients of a loss, and clusters of values that count by them."""

from collections.abc import Callable
from typing import Any

import torch
from tests.benchmarks import programs
from tests.benchmarks.job import Job, Work
from tests.benchmarks.judging import bytes_of_package
from tests.networks.resnet import ResNet18
from torch import Tensor, nn

BATCHES = 8
CONFIG = {"global_config": {"n_bits": 4}, "calibration_nsamples": BATCHES}


def palettizing(module: str) -> Work:
    """Return sensitive k-means, from the batches to the model, with one system."""

    def prepare(model: nn.Module) -> Callable[[], nn.Module]:
        import importlib

        system = importlib.import_module(module)
        config = system.SKMPalettizerConfig.from_dict(CONFIG)
        data = batches()
        return lambda: system.SKMPalettizer(model, config).compress(data, loss_fn)

    return prepare


def batches() -> list[tuple[Tensor, Tensor]]:
    """Return batches of four random images of 64x64, and random classes."""
    generator = torch.Generator().manual_seed(0)
    images, classes = (4, 3, 64, 64), (4,)
    return [
        (torch.randn(images, generator=generator), torch.randint(0, 10, classes, generator=generator))
        for _ in range(BATCHES)
    ]


def loss_fn(model: nn.Module, batch: Any) -> Tensor:
    """Return the cross entropy."""
    images, classes = batch
    return nn.functional.cross_entropy(model(images), classes)


def judge_sensitive(model: nn.Module, compressed: nn.Module, system: str) -> dict[str, float]:
    """Return the error of the weights, each counted by its sensitivity, and the bytes of the exported package."""
    from corepress_plugins.palettization import SKMPalettizer

    noise = signal = 0.0
    for name, sensitivity in SKMPalettizer(model, CONFIG).compute_sensitivity(batches(), loss_fn).items():
        values = model.get_parameter(name).detach().double()
        noise += float(((values - compressed.get_parameter(name).detach()).square() * sensitivity).sum())
        signal += float((values.square() * sensitivity).sum())
    return {
        "error": (noise / signal) ** 0.5,
        "bytes": bytes_of_package(compressed, torch.rand(1, 3, 64, 64), system),
    }


JOBS = {
    "skm": Job(
        "ResNet-18: 4 bits, sensitive, 8 batches",
        lambda: programs.seeded(ResNet18),
        {
            "coremltools": palettizing("coremltools.optimize.torch.palettization"),
            "corepress": palettizing("corepress_plugins.palettization"),
        },
        judge_sensitive,
        once=frozenset({"coremltools"}),
    ),
}
