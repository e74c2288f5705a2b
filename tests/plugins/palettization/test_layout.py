"""How weights are cut into groups and vectors."""

import pytest
import torch

from corepress.algorithm import Unsupported, WeightFacts
from corepress.encoding import Dense
from corepress_plugins.palettization import ModulePostTrainingPalettizerConfig
from corepress_plugins.palettization.kmeans.algorithm import KMeansPalettization
from corepress_plugins.palettization.layout import GroupLayout, layout_of

GROUPED = {"granularity": "per_grouped_channel"}


def facts(*shape):
    return WeightFacts(name="w", kind="layer_norm", shape=shape)


def layout(*shape, **options):
    return layout_of(facts(*shape), ModulePostTrainingPalettizerConfig(**options))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, GroupLayout((12,), 0, 1)),
        ({**GROUPED, "group_size": 4}, GroupLayout((12,), 0, 3)),
        ({"cluster_dim": 3}, GroupLayout((12,), 0, 1, 3)),
        ({**GROUPED, "group_size": 6, "cluster_dim": 2}, GroupLayout((12,), 0, 2, 2)),
        ({"tensor_axis": -1, "channel_axis": 1}, GroupLayout((12,), 0, 1)),
    ],
)
def test_a_vector_is_cut_along_its_axis(options, expected):
    found = layout(12, **options)
    assert found == expected
    assert found.grid == (expected.groups,)


@pytest.mark.parametrize(("groups", "dim"), [(1, 1), (3, 1), (1, 4), (2, 3)])
def test_the_palette_of_a_vector_decodes_to_it(groups, dim):
    values = torch.arange(12.0)
    found = GroupLayout((12,), 0, groups, dim)
    split = found.split(values)
    assert split.shape == (groups, 12 // groups // dim, dim)
    indices = torch.arange(split.shape[1], dtype=torch.uint8).expand(groups, -1)
    tables = torch.zeros(groups, 16, dim)
    tables[:, : split.shape[1]] = split
    assert torch.equal(found.palettized(indices, Dense(found.lut(tables)), 4).decode(), values)


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((12,), {"channel_axis": 1}, "a 1-D parameter has no channels on axis 1; use channel_axis 0"),
        ((12,), {**GROUPED, "group_size": 5}, "group_size 5 does not divide its 12 channels on axis 0"),
        ((12,), {"cluster_dim": 5}, "cluster_dim 5 does not divide its 12 channels on axis 0"),
        (
            (12,),
            {"enable_per_channel_scale": True},
            "a vector has one value in each channel; turn enable_per_channel_scale off",
        ),
        ((), {}, "a 0-D parameter has no channels to palettize"),
        ((0,), {}, "it has no elements"),
    ],
)
def test_what_cannot_be_cut_is_unsupported(shape, options, reason):
    with pytest.raises(Unsupported) as caught:
        KMeansPalettization().predict(facts(*shape), ModulePostTrainingPalettizerConfig(**options))
    assert str(caught.value) == reason
