"""Core ML programs, whose sensitivities a file must give."""

import coremltools as ct
import pytest
import torch
from safetensors.torch import save_file

from corepress import Pipeline, Stage, coreml
from corepress.errors import PlanError
from corepress.testing.networks import ConvolutionalNetwork
from corepress_plugins.palettization import SKMPalettizer


@pytest.fixture(scope="module")
def model():
    return ConvolutionalNetwork().eval()


@pytest.fixture(scope="module")
def program(model):
    return coreml.convert(
        model,
        torch.zeros(1, 3, 8, 8),
        minimum_deployment_target="iOS18",
        compute_precision=ct.precision.FLOAT32,
    )


def skm(program, path, **more):
    options = {"n_bits": 2, "sensitivity_path": str(path)}
    return Pipeline([Stage("skm", {"global_config": options})]).compress(program, **more)


def loss_fn(model, batch):
    return (model(*batch) - 1).square().mean()


def test_the_file_of_the_torch_model_serves_its_program(model, program, tmp_path):
    path = tmp_path / "sensitivity.safetensors"
    small = SKMPalettizer(model, {"global_config": {"n_bits": 2}}).compress(model.batches(), loss_fn, path)
    coreml.verify(skm(program, path), small)


def test_the_file_may_use_the_names_of_the_program(program, tmp_path):
    weights = [weight for weight in coreml.read_weights(program) if len(weight.shape) > 1]
    save_file({weight.name: torch.ones(weight.shape) for weight in weights}, tmp_path / "s")
    small = {weight.name: weight for weight in coreml.read_weights(skm(program, tmp_path / "s"))}
    assert all(small[weight.name].value.unique().numel() == 4 for weight in weights)


def test_names_that_the_converter_spells_alike_are_refused(program, tmp_path):
    weight = next(weight for weight in coreml.read_weights(program) if weight.name.startswith("stem"))
    ones = torch.ones(weight.shape)
    save_file({"stem/weight": ones, "stem:weight": ones.clone()}, tmp_path / "s")
    with pytest.raises(PlanError, match="stem/weight and stem:weight may both be stem_weight"):
        skm(program, tmp_path / "s")


def test_without_a_file_a_program_is_refused(model, program):
    pipeline = Pipeline([Stage("skm", {"global_config": {"n_bits": 2}})])
    with pytest.raises(PlanError) as caught:
        pipeline.compress(program, data=model.batches(), loss_fn=loss_fn)
    why = "fisher_diagonal needs gradients of a loss, which a Core ML program cannot give"
    assert str(caught.value) == f"stage 1 (skm) cannot be calibrated: {why}"
