import itertools

import pytest
import torch

from corepress.encoding.memory import overlapping, shares_elements, write_back

FLAT = torch.arange(64.0)


def locations(tensor):
    """Every location of a tensor's elements, one by one: the definition, for small tensors."""
    axes = [range(size) for size in tensor.shape]
    return [
        tensor.data_ptr()
        + tensor.element_size() * sum(i * s for i, s in zip(index, tensor.stride(), strict=True))
        + byte
        for index in itertools.product(*axes)
        for byte in range(tensor.element_size())
    ]


@pytest.mark.parametrize(
    ("tensor", "shared"),
    [
        (torch.randn(4, 3), False),
        (torch.randn(4, 3).T, False),
        (torch.randn(2, 4, 3, 3).to(memory_format=torch.channels_last), False),
        (torch.randn(6, 8)[::2, 1:4], False),
        (torch.randn(1, 3).expand(4, 3), True),
        (torch.randn(4, 1).expand(4, 3), True),
        (torch.randn(1, 3).expand(1, 3), False),
        (torch.zeros(()).expand(2, 2), True),
        (torch.randn(0, 3), False),
        (torch.zeros(()), False),
        (FLAT.as_strided((4, 4), (1, 1)), True),
        (FLAT.as_strided((2, 3), (3, 2)), False),
        (FLAT.as_strided((4, 3), (2, 3)), True),
        (torch.eye(3).to_sparse(), False),
        (torch.zeros(1, 3, device="meta").expand(2, 3), True),
    ],
)
def test_elements_that_share_memory_are_found(tensor, shared):
    assert shares_elements(tensor) is shared


@pytest.mark.parametrize("sizes", [(2, 3), (3, 2), (2, 2, 2)])
def test_every_layout_is_judged_as_counting_the_locations_does(sizes):
    for strides in itertools.product(range(6), repeat=len(sizes)):
        tensor = FLAT.as_strided(sizes, strides)
        found = locations(tensor)
        assert shares_elements(tensor) is (len(set(found)) < len(found)), strides


def test_views_that_share_nothing_do_not_overlap():
    matrix = torch.zeros(4, 6)
    assert list(overlapping([FLAT[:16].view(4, 4), FLAT[16:24], FLAT[24:40].view(4, 4).T])) == []
    assert list(overlapping([matrix[:, :3], matrix[:, 3:]])) == []
    assert list(overlapping([matrix[::2], matrix[1::2]])) == []


def test_tensors_that_share_memory_are_found_in_pairs():
    tensors = [FLAT[:16].view(4, 4), torch.zeros(4, 4), FLAT[15:24], FLAT[:16].view(4, 4), FLAT[23:25]]
    assert sorted(overlapping(tensors)) == [(0, 2), (0, 3), (2, 3), (2, 4)]


def test_dtypes_may_differ():
    pairs = torch.zeros(8)
    assert list(overlapping([pairs, pairs.view(torch.uint8)[5:7]])) == [(0, 1)]
    assert list(overlapping([pairs[::2], pairs.view(torch.uint8)[4:8]])) == []
    assert list(overlapping([pairs[::2], pairs.view(torch.uint8)[7:9]])) == [(0, 1)]


def test_storages_of_one_memory_are_one():
    array = torch.zeros(8).numpy()
    assert list(overlapping([torch.from_numpy(array[:5]), torch.from_numpy(array[4:])])) == [(0, 1)]


def test_what_has_no_memory_does_not_overlap():
    values = torch.zeros(2, 2, device="meta")
    assert list(overlapping([values, values, torch.zeros(0), torch.zeros(0), torch.eye(2).to_sparse()])) == []


def test_random_views_overlap_when_they_have_a_location_in_common():
    generator = torch.Generator().manual_seed(0)

    def view():
        sizes, strides, offset = (
            torch.randint(low, high, (n,), generator=generator).tolist()
            for low, high, n in ((1, 4, 2), (0, 9, 2), (0, 30, 1))
        )
        return FLAT.as_strided(sizes, strides, *offset)

    for _ in range(200):
        left, right = view(), view()
        expected = [(0, 1)] if set(locations(left)) & set(locations(right)) else []
        assert list(overlapping([left, right])) == expected


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(3, 4),
        torch.ones(1, 4).expand(3, 4),
        torch.ones(()).expand(2, 2),
        torch.ones(()),
        torch.ones(0, 2),
        torch.eye(3).to_sparse(),
    ],
)
def test_values_are_written_back_in_place(tensor):
    before = tensor.clone()
    if tensor.layout is torch.strided:
        tensor.as_strided((tensor.untyped_storage().nbytes() // 4,), (1,)).fill_(7.0)
    else:
        tensor.zero_()
    write_back(tensor, before)
    assert torch.equal(tensor.to_dense(), before.to_dense())


def test_values_are_written_back_to_an_inference_tensor():
    with torch.inference_mode():
        tensor = torch.ones(2, 2)
    before = tensor.clone()
    tensor.detach().zero_()
    write_back(tensor, before)
    assert torch.equal(tensor, before)
