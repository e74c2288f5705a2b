"""What sensitive k-means makes of weights."""

import pytest
import torch

from corepress.algorithm import WeightView, generator_for
from corepress.encoding import Affine
from corepress_plugins.palettization import ModuleSKMPalettizerConfig
from corepress_plugins.palettization.skm.algorithm import SensitiveKMeans


def encoded(values, fisher, mask=None, **options):
    view = WeightView(name="w", kind="linear", shape=tuple(values.shape), values=values, mask=mask)
    config = ModuleSKMPalettizerConfig(**options)
    return SensitiveKMeans().encode(view, config, {"fisher_diagonal": fisher}, generator_for(0, "w"))


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cost(values, found, fisher):
    return float(((found.decode() - values).double().square() * fisher).sum())


TOY = torch.tensor([[0.0, 1.0, 2.0, 10.0]])


def test_a_sensitive_value_draws_the_centroid_to_itself():
    found = encoded(TOY, torch.tensor([[100.0, 1.0, 1.0, 1.0]]), n_bits=1).decode()
    assert found.tolist() == [pytest.approx([3 / 102, 3 / 102, 3 / 102, 10])]


def test_equal_sensitivities_are_plain_k_means():
    assert encoded(TOY, torch.full((1, 4), 7.0), n_bits=1).decode().tolist() == [[1.0, 1.0, 1.0, 10.0]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"granularity": "per_grouped_channel", "group_size": 4},
        {"enable_per_channel_scale": True},
        {"cluster_dim": 2},
        {"lut_dtype": "int8"},
        {"lut_dtype": "uint8", "enable_per_channel_scale": True},
    ],
)
def test_the_weighted_error_is_less_than_that_of_plain_k_means(options):
    values = normal(32, 64) * torch.linspace(0.2, 3, 32)[:, None]
    fisher = normal(32, 64, seed=1).square() ** 3
    plain = encoded(values, torch.ones(32, 64), n_bits=2, **options)
    sensitive = encoded(values, fisher, n_bits=2, **options)
    assert cost(values, sensitive, fisher) < cost(values, plain, fisher)


def test_under_a_scale_the_error_counts_in_the_units_of_the_weight():
    # Scaled by 10 and 1, both rows read 1, 0.5, 0: alone, the first would need 0.5 a hundred times more than the other.
    values = torch.tensor([[10.0, 6.0, 0.0, 0.0], [1.0, 0.4, 0.0, 0.0]])
    found = encoded(values, torch.ones(2, 4), n_bits=2, enable_per_channel_scale=True)
    assert found.decode()[0].tolist() == pytest.approx([10, 6, 0, 0], rel=1e-3)
    fisher = torch.tensor([[1.0, 1e-6, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    sensitive = encoded(values, fisher, n_bits=2, enable_per_channel_scale=True)
    assert cost(values, sensitive, fisher) <= cost(values, found, fisher)


def test_the_importance_of_a_vector_is_the_sum_over_its_values():
    values = torch.tensor([[0.0, 1.0, 2.0, 10.0], [0.0, 1.0, 2.0, 10.0]])
    fisher = torch.tensor([[60.0, 0.5, 0.5, 0.5], [40.0, 0.5, 0.5, 0.5]])
    found = encoded(values, fisher, n_bits=1, cluster_dim=2).decode()
    assert found[0].tolist() == pytest.approx([3 / 102, 3 / 102, 3 / 102, 10], rel=1e-4)


def test_pruned_values_do_not_draw_centroids():
    mask = torch.tensor([[True, True, True, True, False, False]])
    values = torch.tensor([[1.0, 2.0, 3.0, 10.0, 0.0, 0.0]])
    found = encoded(values, torch.tensor([[1.0, 1.0, 1.0, 1.0, 99.0, 99.0]]), mask, n_bits=1)
    assert found.decode()[mask].tolist() == [2.0, 2.0, 2.0, 10.0]


def test_a_weight_without_gradients_is_clustered_all_the_same():
    assert encoded(TOY, torch.zeros(1, 4), n_bits=1).decode().tolist() == [[1.0, 1.0, 1.0, 10.0]]


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_constant_weights_are_exact(value):
    values = torch.full((4, 4), value)
    assert torch.equal(encoded(values, normal(4, 4).square()).decode(), values)


def test_integer_tables_hold_eight_bits():
    found = encoded(normal(8, 16), normal(8, 16, seed=1).square(), lut_dtype="int8")
    assert isinstance(found.lut, Affine)
    assert found.form == SensitiveKMeans().predict(
        WeightView(name="w", kind="linear", shape=(8, 16), values=normal(8, 16)),
        ModuleSKMPalettizerConfig(lut_dtype="int8"),
    )
