"""The axis along which groups and vectors run."""

import pytest
import torch
from torch import nn

from corepress.algorithm import WeightFacts
from corepress.targets import torch_weights
from corepress_plugins.palettization import ModulePostTrainingPalettizerConfig, PostTrainingPalettizer
from corepress_plugins.palettization.kmeans.algorithm import KMeansPalettization


def palettized(module, **options):
    """Return the encoding of the module's weight and its values."""
    generator = torch.Generator().manual_seed(3)
    module.weight.data = torch.randn(module.weight.shape, generator=generator)
    compressed = PostTrainingPalettizer(nn.Sequential(module), {"global_config": options}).compress()
    return torch_weights(compressed)[0].encoding(), compressed[0].weight.detach()


@pytest.mark.parametrize(
    ("axis", "shape"), [(2, (1, 1, 2, 1, 4, 1)), (-1, (1, 1, 1, 3, 4, 1)), (1, (1, 6, 1, 1, 4, 1))]
)
@pytest.mark.parametrize("channel_axis", [0, 1])
def test_groups_run_along_any_axis_of_the_tensor(axis, shape, channel_axis):
    module = nn.ConvTranspose2d(16, 12, (4, 6))
    grouped = {"granularity": "per_grouped_channel", "group_size": 2}
    encoding, values = palettized(module, n_bits=2, tensor_axis=axis, channel_axis=channel_axis, **grouped)
    assert encoding.lut.shape == shape
    assert all(group.unique().numel() == 4 for group in values.split(2, dim=axis))


@pytest.mark.parametrize(("tensor_axis", "vector_axis"), [(3, 3), (-2, 2), (0, 0)])
def test_vectors_run_along_any_axis_of_the_tensor(tensor_axis, vector_axis):
    encoding, values = palettized(nn.Conv2d(16, 32, 4), n_bits=3, cluster_dim=2, tensor_axis=tensor_axis)
    assert encoding.vector_axis == vector_axis
    vectors = values.unflatten(vector_axis, (-1, 2)).movedim(vector_axis + 1, -1).reshape(-1, 2)
    assert vectors.unique(dim=0).shape[0] == 8


def test_an_axis_that_a_weight_does_not_have_is_skipped_with_its_reason():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Linear(16, 16))
    palettizer = PostTrainingPalettizer(model, {"global_config": {"tensor_axis": 2}})
    palettizer.compress()
    assert palettizer.report()["0.weight"].status == "compressed"
    assert palettizer.report()["1.weight"].reason == "kmeans: tensor_axis 2 is none of its 2 axes; give -2 to 1"


def test_the_form_says_beforehand_along_which_axis_groups_are():
    groups = {"granularity": "per_grouped_channel", "group_size": 8, "channel_axis": 1}
    facts = WeightFacts(name="w", kind="linear", shape=(16, 32))
    predicted = KMeansPalettization().predict(facts, ModulePostTrainingPalettizerConfig(**groups))
    encoding, _ = palettized(nn.Linear(32, 16), **groups)
    assert predicted == encoding.form
    assert predicted.grid == encoding.form.grid == (1, 4)
