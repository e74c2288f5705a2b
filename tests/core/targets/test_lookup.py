import pytest
import torch

from corepress.targets.lookup import nearest_entries


@pytest.mark.parametrize(
    ("groups", "axis", "dim"),
    [((1, 1), None, 1), ((2, 1), None, 1), ((2, 3), None, 1), ((1, 1), 0, 2), ((2, 1), 0, 2), ((4, 1), 1, 3)],
)
def test_every_value_gets_the_nearest_entry_of_its_group(make, groups, axis, dim):
    weight, lut = make.normal(4, 6), make.normal(*groups, 8, dim)
    found = nearest_entries(weight, lut, axis)
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            table = lut[row * groups[0] // found.shape[0], column * groups[1] // found.shape[1]]
            if axis == 0:
                vector = weight[dim * row : dim * (row + 1), column]
            else:
                vector = weight[row, dim * column : dim * (column + 1)]
            assert found[row, column] == (table - vector).square().sum(dim=1).argmin()


def test_indices_are_uint8(make):
    assert nearest_entries(make.normal(4, 6), make.normal(1, 1, 256, 1), None).dtype is torch.uint8


def test_the_first_of_equal_entries_is_taken():
    lut = torch.tensor([3.0, 1.0, 1.0, 3.0]).reshape(1, 1, 4, 1)
    assert nearest_entries(torch.tensor([[1.0, 3.0]]), lut, None).tolist() == [[1, 0]]
