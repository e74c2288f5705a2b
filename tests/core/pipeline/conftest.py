"""Models and toy plugins for the tests of pipelines."""

import sys
import types

import attrs
import pytest
import torch
from torch import nn

from corepress.algorithm import Simulator, TrainingAlgorithm, Unsupported, WeightAlgorithm
from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option
from corepress.encoding import Dense, PaletteForm, Palettized
from corepress.plugin import AlgorithmSpec, hookimpl
from corepress.testing import plugins_of


def make_model() -> nn.Module:
    generator = torch.Generator().manual_seed(7)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.Flatten(), nn.Linear(128, 10)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


@pytest.fixture
def model() -> nn.Module:
    return make_model()


@configuration
class ModuleSignConfig(ModuleConfig):
    even_only: bool = option(default=False, doc="Refuse weights with an odd number of output channels.")


@layered
class SignConfig(CompressionConfig[ModuleSignConfig]):
    module_config = ModuleSignConfig


def _palette(values: torch.Tensor, keep: torch.Tensor | None = None) -> Palettized:
    kept = values if keep is None else values[keep]
    size = kept.abs().mean() if kept.numel() else torch.zeros(())
    lut = torch.stack([-size, size]).reshape((1,) * values.ndim + (2, 1))
    return Palettized((values > 0).to(torch.uint8), Dense(lut), 1)


class SignPalette(WeightAlgorithm, TrainingAlgorithm):
    """One bit per weight: minus or plus the mean magnitude."""

    fails_on: str | None = None

    def predict(self, weight, config):
        if config.even_only and weight.output_channels % 2:
            raise Unsupported(f"{weight.output_channels} output channels are odd")
        return PaletteForm(n_bits=1)

    def encode(self, weight, config, statistics, rng):
        if weight.name == self.fails_on:
            raise RuntimeError("no luck")
        return _palette(weight.values, weight.mask)

    def simulate(self, weight, config, rng):
        return SignSimulator()


class UnpredictedPalette(SignPalette):
    """The same, without telling its form beforehand."""

    def predict(self, weight, config):
        return None


class SignSimulator(Simulator):
    def forward(self, weight):
        hard = _palette(weight.detach(), weight.detach() != 0).decode().where(weight != 0, 0.0)
        return weight + (hard - weight).detach()

    def encode(self, weight):
        return _palette(weight, weight != 0)


@pytest.fixture
def events():
    """What the observer of the toy plugin has seen."""
    return []


@pytest.fixture
def toys(events):
    """A registry with the installed plugins and a toy one: `sign`, and an observer."""
    home = types.ModuleType("toy_algorithms")
    home.SignConfig, home.SignPalette, home.UnpredictedPalette = SignConfig, SignPalette, UnpredictedPalette
    sys.modules["toy_algorithms"] = home
    spec = AlgorithmSpec(
        name="sign",
        summary="One bit per weight.",
        config="toy_algorithms:SignConfig",
        implementation="toy_algorithms:SignPalette",
        kind=("weight", "training"),
        produces="palette",
    )

    class Toy:
        @hookimpl
        def register_algorithms(self):
            return [
                spec,
                attrs.evolve(spec, name="sign_trained", kind=("training",)),
                attrs.evolve(spec, name="sign_one_shot", kind=("weight",)),
                attrs.evolve(spec, name="elsewhere", targets=("coreml",)),
                attrs.evolve(spec, name="unpredicted", implementation="toy_algorithms:UnpredictedPalette"),
            ]

        @hookimpl
        def on_run_start(self):
            events.append("start")

        @hookimpl
        def on_stage_start(self, stage):
            events.append(f"stage {stage.algorithm}")

        @hookimpl
        def on_step(self, step):
            events.append(f"step {step}")

        @hookimpl
        def on_weight_compressed(self, row):
            events.append(f"{row.name}: {row.form}")

        @hookimpl
        def on_weight_skipped(self, stage, row):
            events.append(f"{row.name}: not by {stage.algorithm if stage else 'the plan'}: {row.reason}")

        @hookimpl
        def on_stage_end(self, stage):
            events.append(f"end of {stage.algorithm}")

        @hookimpl
        def on_run_end(self, report):
            events.append(f"end with {len(report.done)}")

        @hookimpl
        def on_run_error(self, error):
            events.append(f"error: {error}")

    with plugins_of(Toy(), beside_installed=True) as registry:
        yield registry
    del sys.modules["toy_algorithms"]
    SignPalette.fails_on = None
