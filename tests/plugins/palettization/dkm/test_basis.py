"""Scales of channels, units of groups."""

import pytest
import torch

from corepress_plugins.palettization import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm.basis import begin, channel_scale
from corepress_plugins.palettization.layout import GroupLayout

LAYOUT = GroupLayout((8, 16), 0, 2)


def begun(weight, pruned=False, layout=LAYOUT, **options):
    config = ModuleDKMPalettizerConfig(**options)
    scale = channel_scale(weight, layout.axis, config) if config.enable_per_channel_scale else None
    return begin(weight, scale, layout, 4, config, torch.Generator().manual_seed(0), zeros_are_pruned=pruned)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("magnitude", [1e-20, 1e-6, 1.0, 1e18])
def test_in_its_unit_every_group_has_the_squared_error_of_common_weights(magnitude):
    weight = drawn(8, 16) * magnitude
    basis = begun(weight)
    distances = (basis.values(weight, LAYOUT) - basis.centroids.mT).square().amin(dim=2)
    torch.testing.assert_close(distances.mean(dim=1), torch.full((2,), 0.1175 * 0.05**2), rtol=1e-3, atol=0)


@pytest.mark.parametrize("magnitude", [1e-6, 1e6])
def test_a_scaled_weight_has_scaled_palettes(magnitude):
    weight = drawn(8, 16)
    base, scaled = begun(weight), begun(weight * magnitude)
    torch.testing.assert_close(scaled.centroids, base.centroids)
    torch.testing.assert_close(scaled.unit, base.unit * magnitude)


def test_an_offset_does_not_widen_the_unit():
    weight = drawn(8, 16) * 0.1
    torch.testing.assert_close(begun(weight + 1).unit, begun(weight - weight.mean()).unit, rtol=0.2, atol=0)


def test_a_constant_in_its_unit_is_a_half():
    weight = torch.full((8, 16), 0.3)
    values = begun(weight).values(weight, LAYOUT)
    torch.testing.assert_close(values, values.half().float(), rtol=1e-7, atol=0)


def test_zeros_have_a_unit():
    basis = begun(torch.zeros(8, 16))
    assert (basis.unit > 0).all()
    assert not basis.centroids.any()


def test_pruned_zeros_do_not_narrow_the_unit():
    weight = drawn(8, 16)
    sparse = torch.stack([weight, torch.zeros(8, 16)], dim=2).flatten(1)
    found = begun(sparse, pruned=True, layout=GroupLayout((8, 32), 0, 2))
    torch.testing.assert_close(found.unit, begun(weight).unit)
    torch.testing.assert_close(found.centroids.sort(dim=1).values, begun(weight).centroids.sort(dim=1).values)


def test_a_group_that_is_pruned_entirely_begins_at_zero():
    weight = drawn(8, 16)
    weight[:4] = 0
    basis = begun(weight, pruned=True)
    assert basis.unit.isfinite().all()
    assert not basis.centroids[0].any()


@pytest.mark.parametrize("scaled", [False, True])
def test_a_weight_comes_back_from_its_values(scaled):
    weight = drawn(8, 16)
    basis = begun(weight, enable_per_channel_scale=scaled)
    torch.testing.assert_close(basis.weight(basis.values(weight, LAYOUT), LAYOUT), weight)


@pytest.mark.parametrize(("scheme", "expected"), [("min_max", [2.0, 3.0, 0.0, 1.0]), ("abs", [3.0, 3.0, 0.0, 2.0])])
def test_scales_of_channels(scheme, expected):
    # A constant channel has no range, and a channel of zeros no magnitude.
    weight = torch.tensor([[-1.0, 3.0], [-3.0, -3.0], [0.0, 0.0], [2.0, 0.0]])
    config = ModuleDKMPalettizerConfig(per_channel_scaling_factor_scheme=scheme)
    assert channel_scale(weight, 0, config).flatten().tolist() == expected


def test_scales_run_along_the_axis_of_channels():
    weight = torch.tensor([[-1.0, 3.0], [4.0, -3.0]])
    config = ModuleDKMPalettizerConfig(per_channel_scaling_factor_scheme="abs")
    assert channel_scale(weight, 1, config).tolist() == [[4.0, 3.0]]
