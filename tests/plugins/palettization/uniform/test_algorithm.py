"""Tables that are equally spaced over the range of their values."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from corepress import Pipeline, Stage
from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress.encoding import PaletteForm, Sparse
from corepress.targets import torch_weights
from corepress_plugins.palettization import ModuleUniformPalettizerConfig, UniformPalettizerConfig
from corepress_plugins.palettization.uniform.algorithm import UniformPalettization

GROUPED = {"granularity": "per_grouped_channel"}
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


def palettized(values, mask=None, **options):
    weight = WeightView(name="w", kind="linear", shape=tuple(values.shape), values=values, mask=mask)
    return UniformPalettization().encode(weight, ModuleUniformPalettizerConfig(**options), {}, torch.Generator())


def test_entries_are_equally_spaced_between_the_smallest_and_the_largest_value():
    encoding = palettized(torch.tensor([[0.11, 0.19, 0.3, 0.08, 0, 0.02]]), n_bits=2)
    assert torch.equal(encoding.lut.decode(), torch.tensor([0, 0.1, 0.2, 0.3]).reshape(1, 1, 4, 1))
    assert encoding.indices.tolist() == [[1, 2, 3, 1, 0, 0]]


def test_every_group_has_a_range_of_its_own():
    encoding = palettized(torch.tensor([[0.0, 3.0], [10.0, 40.0]]), n_bits=2, group_size=1, **GROUPED)
    assert encoding.lut.decode().squeeze().tolist() == [[0, 1, 2, 3], [10, 20, 30, 40]]
    assert encoding.indices.tolist() == [[0, 3], [0, 3]]


@pytest.mark.parametrize("value", [0.0, 0.1, -3e38, 1e-44])
def test_a_constant_weight_is_exact_with_index_zero(value):
    values = torch.full((3, 4), value)
    encoding = palettized(values)
    assert torch.equal(encoding.decode(), values)
    assert not encoding.indices.any()


@pytest.mark.parametrize("n_bits", [1, 2, 3, 4, 6, 8])
def test_values_on_a_lattice_are_exact(n_bits):
    values = torch.arange(2.0**n_bits).repeat(2, 1) / 64 - 1
    assert torch.equal(palettized(values, n_bits=n_bits).decode(), values)


@given(finite, finite, st.sampled_from([1, 2, 3, 4, 6, 8]))
def test_both_ends_of_the_range_are_exact_and_the_error_is_at_most_half_a_step(first, second, n_bits):
    values = torch.tensor([[first, second]]) * torch.linspace(0, 1, 7)[:, None]
    decoded = palettized(values, n_bits=n_bits).decode()
    step = (values.double().max() - values.double().min()) / (2**n_bits - 1)
    assert decoded.max() == values.max()
    assert decoded.min() == values.min()
    assert (decoded.double() - values.double()).abs().max() <= step * 0.5001 + 1e-45


def test_the_range_of_a_sparse_weight_is_that_of_its_kept_values():
    values = torch.tensor([[4.0, 0.0, 7.0], [5.0, 6.0, 0.0]])
    encoding = palettized(values, values != 0, n_bits=2)
    assert encoding.lut.decode().flatten().tolist() == [4, 5, 6, 7]
    assert encoding.indices.tolist() == [[0, 0, 3], [1, 2, 0]]


def test_a_group_that_keeps_nothing_has_zeros():
    values = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    encoding = palettized(values, values != 0, n_bits=1, group_size=1, **GROUPED)
    assert encoding.lut.decode().squeeze().tolist() == [[0, 0], [1, 2]]


def test_more_tables_make_a_smaller_error():
    values = torch.randint(-100, 100, (32, 16), generator=torch.Generator().manual_seed(0)).float()
    for n_bits in (2, 3, 4):
        whole, grouped = palettized(values, n_bits=n_bits), palettized(values, n_bits=n_bits, group_size=4, **GROUPED)
        assert (grouped.decode() - values).norm() < (whole.decode() - values).norm()


@pytest.mark.parametrize(("tensor_axis", "grid"), [(2, (1, 1, 2, 1)), (-1, (1, 1, 1, 3)), (-4, (4, 1, 1, 1))])
def test_groups_run_along_any_axis_of_the_tensor(tensor_axis, grid):
    size = {2: 1, -1: 2, -4: 2}[tensor_axis]
    values = torch.randn(8, 3, 2, 6, generator=torch.Generator().manual_seed(0))
    encoding = palettized(values, n_bits=8, tensor_axis=tensor_axis, group_size=size, **GROUPED)
    assert encoding.groups == grid
    assert (encoding.decode() - values).norm() < 0.01 * values.norm()


def test_the_form_is_known_before():
    facts = WeightFacts(name="w", kind="linear", shape=(8, 6))
    config = ModuleUniformPalettizerConfig(n_bits=6, granularity="per_grouped_channel", group_size=2, channel_axis=1)
    assert UniformPalettization().predict(facts, config) == PaletteForm(6, groups=3)


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((8, 6), {"tensor_axis": 2}, "tensor_axis 2 is none of its 2 axes; give -2 to 1"),
        ((8, 6), {"tensor_axis": -3}, "tensor_axis -3 is none of its 2 axes; give -2 to 1"),
        ((8, 6), {**GROUPED, "group_size": 3}, "group_size 3 does not divide its 8 channels on axis 0"),
        ((0, 6), {}, "it has no elements"),
        ((), {}, "a 0-D parameter has no channels to palettize"),
    ],
)
def test_what_cannot_be_cut_is_unsupported(shape, options, reason):
    facts = WeightFacts(name="w", kind="linear", shape=shape)
    with pytest.raises(Unsupported) as caught:
        UniformPalettization().predict(facts, ModuleUniformPalettizerConfig(**options))
    assert str(caught.value) == reason


def test_a_pruned_model_keeps_its_zeros():
    model = nn.Sequential(nn.Linear(16, 16))
    small = Pipeline([Stage("magnitude"), Stage("uniform", UniformPalettizerConfig())]).compress(model)
    encoding = torch_weights(small)[0].encoding()
    assert isinstance(encoding, Sparse)
    assert encoding.form.describe() == "50% sparse, 4-bit palette"
    assert int((small[0].weight == 0).sum()) == 128
