"""Norms: palettized when they are asked for, from the torch model to the package."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, verify
from corepress.encoding import Palettized
from corepress.errors import PlanError
from corepress.targets import torch_weights
from corepress_plugins.palettization import PostTrainingPalettizer

GROUPED = {"granularity": "per_grouped_channel", "group_size": 1024}


@pytest.fixture
def network():
    generator = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.Linear(4, 4096), nn.LayerNorm(4096), nn.Linear(4096, 2)).eval()
    for parameter in model[1].parameters():
        parameter.data = 1 + 0.2 * torch.randn(4096, generator=generator)
    return model


def by_type(**options):
    return {"module_type_configs": {"LayerNorm": options}}


def norm_of(model):
    (weight,) = (weight for weight in torch_weights(model) if weight.kind == "layer_norm")
    return weight


@pytest.mark.parametrize("config", [None, {"module_name_configs": {r"\d": {"n_bits": 2}}}])
def test_a_rule_for_everything_leaves_norms_alone(network, config):
    small = PostTrainingPalettizer(network, config).compress()
    assert torch.equal(small[1].weight, network[1].weight)
    assert not list(small[1].named_buffers())


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_the_palette_of_a_norm_is_exported_exactly(network, target):
    small = PostTrainingPalettizer(network, by_type(n_bits=4)).compress()
    assert small[1].weight.unique().numel() == 16
    x = torch.linspace(-1, 1, 8).reshape(2, 4)
    row = verify(convert(small, x, minimum_deployment_target=target), small, x).as_dict()["1.weight"]
    assert row == {"stored_as": "4-bit palette", "nbytes": 4096 // 2 + 16 * 2, "equal": True, "result": "equal"}


@pytest.mark.parametrize(
    ("options", "described"),
    [
        ({"n_bits": 3}, "3-bit palette"),
        ({"n_bits": 2, **GROUPED}, "2-bit palette, 4 LUTs"),
        ({"n_bits": 4, "cluster_dim": 2}, "4-bit palette, vectors of 2"),
        ({"n_bits": 4, "lut_dtype": "int8"}, "4-bit palette, int8 LUT"),
    ],
)
def test_what_a_norm_needs_ios18_for_is_refused_for_older_systems(network, options, described):
    pipeline = Pipeline([Stage("kmeans", by_type(**options))])
    with pytest.raises(PlanError, match=f"^1.weight: {described} needs iOS18, but minimum_deployment_target is iOS16"):
        pipeline.plan(network, minimum_deployment_target="iOS16")
    small = pipeline.compress(network)
    encoding = norm_of(small).encoding()
    assert isinstance(encoding, Palettized)
    assert encoding.form.describe() == described
    x = torch.ones(1, 4)
    assert verify(convert(small, x), small).as_dict()["1.weight"]["equal"]


def test_norms_of_several_axes_are_palettized_like_other_weights():
    model = nn.Sequential(nn.LayerNorm((8, 6)))
    model[0].weight.data = torch.linspace(0, 1, 48).reshape(8, 6)
    options = {"n_bits": 2, "granularity": "per_grouped_channel", "group_size": 3, "channel_axis": 1}
    small = PostTrainingPalettizer(model, by_type(**options)).compress()
    assert norm_of(small).encoding().lut.shape == (1, 2, 4, 1)


def test_a_pruned_norm_is_palettized_and_exported(network):
    pipeline = Pipeline([Stage("magnitude", by_type(target_sparsity=0.5)), Stage("kmeans", by_type(n_bits=4))])
    small = pipeline.compress(network)
    assert int((small[1].weight == 0).sum()) == 2048
    assert verify(convert(small, torch.ones(1, 4)), small).as_dict()["1.weight"]["equal"]


def test_norms_that_are_not_compressed_are_not_verified(network):
    small = PostTrainingPalettizer(network).compress()
    verification = verify(convert(small, torch.ones(1, 4)), small)
    assert [row.name for row in verification.weights] == ["0.weight", "2.weight"]
    assert verification.others == 4
