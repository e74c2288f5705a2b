"""Jobs in the training loop: what a step costs while the weights are palettized by differentiable k-means."""

from collections.abc import Callable
from typing import Any

import torch
from tests.benchmarks import programs
from tests.benchmarks.job import Job, Work
from tests.networks.resnet import ResNet18
from torch import nn


class Loop:
    """A network in training with one system: batches of eight random images of 64x64."""

    def __init__(self, model: nn.Module, system: str, n_bits: int) -> None:
        import importlib

        package = importlib.import_module(system)
        config = package.DKMPalettizerConfig.from_dict({"global_config": {"n_bits": n_bits}})
        self.palettizer = package.DKMPalettizer(model, config)
        self.model = self.palettizer.prepare(inplace=False).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(8, 3, 64, 64, generator=generator)
        self.labels = torch.randint(0, 10, (8,), generator=generator)

    def step(self) -> "Loop":
        """Make one step."""
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(self.images), self.labels).backward()
        self.optimizer.step()
        self.palettizer.step()
        return self


def first_step(n_bits: int) -> dict[str, Work]:
    """Return preparation and the first step, with the clustering that they begin with."""

    def of(system: str) -> Work:
        return lambda model: lambda: Loop(model, system, n_bits).step()

    return _both(of)


def later_steps(n_bits: int) -> dict[str, Work]:
    """Return a step after the first."""

    def of(system: str) -> Work:
        def work(model: nn.Module) -> Callable[[], Any]:
            return Loop(model, system, n_bits).step().step

        return work

    return _both(of)


def judge_loop(model: nn.Module, loop: Loop, system: str) -> dict[str, float]:
    """Return nothing more: the weights are in the making."""
    return {}


def _both(of: Callable[[str], Work]) -> dict[str, Work]:
    return {
        "coremltools": of("coremltools.optimize.torch.palettization"),
        "corepress": of("corepress_plugins.palettization"),
    }


def _job(title: str, work: dict[str, Work]) -> Job:
    return Job(title, lambda: programs.seeded(ResNet18), work, judge_loop, once=frozenset({"coremltools"}))


JOBS = {
    "dkm_first": _job("ResNet-18: DKM 2 bits, first step", first_step(2)),
    "dkm_later": _job("ResNet-18: DKM 2 bits, later step", later_steps(2)),
    # The peer's first step alone takes many minutes here.
    "dkm_4bit": _job("ResNet-18: DKM 4 bits, later step", {"corepress": later_steps(4)["corepress"]}),
}
