"""Tables that a function of the user makes."""

import numpy as np
import pytest
import torch
from tests.plugins.palettization.custom.functions import corners, thirds
from torch import nn

from corepress import Pipeline, Stage
from corepress.algorithm import Unsupported, WeightView
from corepress.encoding import Sparse
from corepress.errors import WeightError
from corepress.targets import torch_weights
from corepress_plugins.palettization import ModuleCustomPalettizerConfig
from corepress_plugins.palettization.custom.algorithm import CustomPalettization

GROUPED = {"granularity": "per_grouped_channel"}


def palettized(values, function, mask=None, **options):
    weight = WeightView(name="fc.weight", kind="linear", shape=tuple(values.shape), values=values, mask=mask)
    config = ModuleCustomPalettizerConfig(lut_function=function, **options)
    return CustomPalettization().encode(weight, config, {}, torch.Generator())


def top_values(values):
    """Zero and the three largest values, as lists: the rest becomes zero."""
    values = values.flatten()
    lut = [0.0, *np.sort(np.partition(values, -3)[-3:]).tolist()]
    return lut, [lut.index(value) if value in lut else 0 for value in values.tolist()]


def test_the_function_decides_tables_and_indices():
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    encoding = palettized(values, top_values)
    assert encoding.n_bits == 2
    assert encoding.lut.decode().flatten().tolist() == [0, 4, 5, 6]
    assert encoding.decode().tolist() == [[0, 0, 0], [4, 5, 6]]


def test_each_group_is_given_with_its_channel_axis_first():
    seen = []

    def watch(values):
        seen.append(values)
        return thirds(values)

    values = torch.arange(24.0).reshape(2, 4, 3)
    encoding = palettized(values, watch, tensor_axis=1, group_size=2, **GROUPED)
    assert [group.dtype for group in seen] == [np.float32] * 2
    assert np.array_equal(seen[0], values[:, :2].movedim(1, 0).numpy())
    assert np.array_equal(seen[1], values[:, 2:].movedim(1, 0).numpy())
    assert encoding.lut.shape == (1, 2, 1, 4, 1)
    assert torch.allclose(encoding.decode(), values, atol=17 / 6)


def test_pairs_of_channels_get_entries_of_two_values():
    encoding = palettized(torch.tensor([[1.0, -1.0], [2.0, 2.0], [-3.0, 1.0], [-1.0, -1.0]]), corners, cluster_dim=2)
    assert encoding.lut.shape == (1, 1, 4, 2)
    assert encoding.indices.tolist() == [[3, 1], [0, 2]]
    assert encoding.decode().tolist() == [[3, -3], [3, 3], [-3, 3], [-3, -3]]


@pytest.mark.parametrize(("entries", "n_bits", "portable"), [(1, 1, 1), (3, 2, 2), (5, 3, 4), (17, 6, 6), (100, 8, 8)])
def test_the_longest_table_decides_the_bits_and_zeros_fill_them_up(entries, n_bits, portable):
    def table(values):
        return np.full(entries if values[0, 0] else 1, 9.0, np.float16), np.zeros(values.shape, np.int64)

    values = torch.eye(2)
    encoding = palettized(values, table, group_size=1, **GROUPED)
    assert encoding.n_bits == n_bits
    assert encoding.lut.decode().count_nonzero() == entries + 1
    assert palettized(values, table, group_size=1, portable=True, **GROUPED).n_bits == portable


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32])
def test_tables_may_have_any_type_of_numbers(kind):
    encoding = palettized(
        torch.ones(2, 2), lambda values: (np.array([[1], [2]], kind), np.ones(values.shape, np.uint8))
    )
    assert encoding.lut.decode().flatten().tolist() == [1, 2]


def test_what_the_function_writes_to_is_a_copy():
    def careless(values):
        values[:] = 7
        return [7.0], np.zeros(values.shape, int)

    values = torch.ones(2, 2)
    palettized(values, careless)
    assert torch.equal(values, torch.ones(2, 2))


ZEROS = np.zeros((2, 3), int)
WRONG = {
    "a table alone": ([0.0, 1.0, 2.0], "lut_function must return (lut, indices), it returned a list of 3"),
    "nothing": (None, "lut_function must return (lut, indices), it returned a value of type NoneType"),
    "text": ((["a"], ZEROS), "lut_function returned a lut of type <U1; give real numbers"),
    "vectors": ((np.ones((4, 2)), ZEROS), "lut_function returned a lut of shape (4, 2); it must be (entries,)"),
    "no entry": (([], ZEROS), "lut_function returned a lut of 0 entries; it must have 1 to 256"),
    "long": ((np.arange(257), ZEROS), "lut_function returned a lut of 257 entries; it must have 1 to 256"),
    "nan": (([1.0, np.nan], ZEROS), "lut_function returned a lut with the entry nan; all must be finite in float32"),
    "huge": (([1e300], ZEROS), "lut_function returned a lut with the entry 1e+300; all must be finite in float32"),
    "fractions": (([1.0], ZEROS / 2), "lut_function returned indices of type float64; give integers"),
    "shape": (
        ([1.0], np.zeros((3, 2), int)),
        "lut_function returned indices of shape (3, 2); it must be (2, 3) or (6,)",
    ),
    "beyond": (
        ([1.0, 2.0], ZEROS + 2),
        "lut_function returned indices from 2 to 2 into a lut of 2 entries; they must be 0 to 1",
    ),
    "negative": (
        ([1.0, 2.0], ZEROS - 1),
        "lut_function returned indices from -1 to -1 into a lut of 2 entries; they must be 0 to 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_table_is_an_error_that_names_the_weight(case):
    returned, text = WRONG[case]
    with pytest.raises(WeightError) as caught:
        palettized(torch.ones(2, 3), lambda values: returned)
    assert str(caught.value) == f"fc.weight: {text}"


def test_a_table_that_is_no_array_is_an_error():
    with pytest.raises(WeightError, match=r"^fc.weight: lut_function returned a lut that cannot become an array: "):
        palettized(torch.ones(2, 3), lambda values: ([[1.0], [1.0, 2.0]], ZEROS))


def test_an_error_names_the_group():
    def second_wrong(values):
        return ([1.0], np.zeros(values.shape, int)) if values.max() < 2 else None

    with pytest.raises(WeightError) as caught:
        palettized(torch.tensor([[1.0], [2.0], [1.0]]), second_wrong, group_size=1, **GROUPED)
    assert str(caught.value) == (
        "fc.weight, group 2 of 3: lut_function must return (lut, indices), it returned a value of type NoneType"
    )


def test_the_zeros_of_a_sparse_weight_need_no_entry():
    values = torch.tensor([[0.0, 4.0], [5.0, 0.0]])
    encoding = palettized(values, lambda v: ([4.0, 5.0], (v > 4).astype(int) + (v == 0)), values != 0)
    assert encoding.indices.tolist() == [[0, 0], [1, 0]]
    with pytest.raises(Unsupported, match="a palette of vectors cannot hold single zeros; use cluster_dim 1"):
        palettized(values, corners, values != 0, cluster_dim=2)


def test_a_pruned_model_keeps_its_zeros():
    model = nn.Sequential(nn.Linear(16, 16))
    recipe = Pipeline([Stage("magnitude"), Stage("custom", {"global_config": {"lut_function": thirds}})])
    encoding = torch_weights(recipe.compress(model))[0].encoding()
    assert isinstance(encoding, Sparse)
    assert encoding.form.describe() == "50% sparse, 2-bit palette"
