"""Activations quantized by a pipeline, on converted networks."""

import numpy as np
import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import DeploymentTarget, convert, run
from corepress.coreml.activations import quantize_activations, sites
from corepress.coreml.program import load_program
from corepress_plugins.quantization import ModuleActivationQuantizationConfig
from corepress_plugins.quantization.activation.algorithm import RangeQuantization


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    ).eval()


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    return [{"input_1": rng.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(8)]


@pytest.fixture(scope="module")
def mlmodel(network):
    return convert(network, (torch.zeros(1, 3, 8, 8),), minimum_deployment_target="iOS17")


def compressed(mlmodel, samples, *stages):
    return Pipeline([Stage(name, {"global_config": config}) for name, config in stages]).compress(mlmodel, data=samples)


def deviation(small, mlmodel, samples):
    """Return the greatest difference of the outputs relative to the greatest output."""
    pairs = [(*run(small, sample).values(), *run(mlmodel, sample).values()) for sample in samples]
    found, wanted = np.array(pairs).astype(np.float64).swapaxes(0, 1)
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_quantized_activations_compute_nearly_the_same(mlmodel, samples, scheme, dtype):
    config = {"quantization_scheme": scheme, "dtype": dtype}
    small = compressed(mlmodel, samples, ("activation", config))
    assert 0 < deviation(small, mlmodel, samples) < 0.02


@pytest.mark.parametrize("first", ["activation", "rtn"])
def test_weights_and_activations_of_8_bits_compute_nearly_the_same(mlmodel, samples, first):
    stages = [("activation", {}), ("rtn", {})]
    small = compressed(mlmodel, samples, *(stages if first == "activation" else stages[::-1]))
    types = [op.op_type for op in load_program(small).functions["main"].operations]
    assert types.count("constexpr_affine_dequantize") == 3
    assert types.count("quantize") == 5
    assert 0 < deviation(small, mlmodel, samples) < 0.03


def test_the_package_is_the_same_after_it_was_saved(mlmodel, samples, tmp_path):
    small = compressed(mlmodel, samples, ("activation", {}))
    small.save(str(tmp_path / "small.mlpackage"))
    assert deviation(tmp_path / "small.mlpackage", small, samples) == 0


def test_an_older_program_is_raised_to_the_first_system_that_quantizes_activations(network, samples):
    old = convert(network, (torch.zeros(1, 3, 8, 8),), minimum_deployment_target="iOS16")
    with pytest.warns(match="the program is for iOS16; what is made of it needs iOS17"):
        small = compressed(old, samples, ("activation", {}))
    assert DeploymentTarget(small.get_spec().specificationVersion) == DeploymentTarget.iOS17
    assert deviation(small, old, samples) < 0.02


def test_nothing_is_left_behind_by_calibration(mlmodel, samples, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    program = load_program(mlmodel)
    chosen = {s.name: (RangeQuantization(), ModuleActivationQuantizationConfig()) for s in sites(program)}
    quantize_activations(program, chosen, samples)
    assert list(tmp_path.iterdir()) == []
