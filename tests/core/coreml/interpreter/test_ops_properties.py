"""Handlers against numpy, for any arguments."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.coreml.interpreter.ops.creation import one_hot
from corepress.coreml.interpreter.ops.indexing import gather, gather_nd
from corepress.coreml.interpreter.ops.pad import pad
from corepress.coreml.interpreter.ops.slicing import slice_by_index, slice_update

NUMBERS = np.arange(24, dtype=np.float32).reshape(4, 6)
TENSOR = torch.from_numpy(NUMBERS)

positions = st.integers(-7, 7)
strides = st.integers(-3, 3).filter(bool)
flags = st.tuples(st.booleans(), st.booleans())


def as_slices(begin, end, stride, begin_mask, end_mask):
    return tuple(
        slice(None if no_begin else b, None if no_end else e, s)
        for b, e, s, no_begin, no_end in zip(begin, end, stride, begin_mask, end_mask, strict=True)
    )


slicings = st.tuples(*(st.tuples(kind, kind) for kind in (positions, positions, strides)), flags, flags)


@given(slicings)
def test_a_slice_is_that_of_numpy(slicing):
    assert slice_by_index(TENSOR, *slicing).tolist() == NUMBERS[as_slices(*slicing)].tolist()


@given(slicings)
def test_a_slice_is_updated_as_by_numpy(slicing):
    wanted = NUMBERS.copy()
    part = wanted[as_slices(*slicing)]
    part[...] = -1
    assert slice_update(TENSOR, -torch.ones(part.shape), *slicing).tolist() == wanted.tolist()
    assert TENSOR.tolist() == NUMBERS.tolist()


@given(st.lists(st.integers(-4, 3), min_size=1, max_size=5), st.sampled_from([(-1,), (1, -1), ()]))
def test_rows_are_gathered_as_by_numpy(rows, shape):
    indices = np.array(rows).reshape(shape) if shape else np.array(rows[0])
    wanted = np.take(NUMBERS, indices, axis=0)
    assert gather(TENSOR, torch.from_numpy(indices)).tolist() == wanted.tolist()


@given(st.lists(st.tuples(st.integers(-4, 3), st.integers(-6, 5)), min_size=1))
def test_elements_are_gathered_as_by_numpy(places):
    assert gather_nd(TENSOR, torch.tensor(places)).tolist() == [NUMBERS[place] for place in places]


@given(st.tuples(*[st.integers(0, 3)] * 4), st.sampled_from([("reflect", "reflect"), ("replicate", "edge")]))
def test_padding_is_that_of_numpy(amounts, modes):
    wanted = np.pad(NUMBERS, (amounts[:2], amounts[2:]), modes[1])
    assert pad(TENSOR, amounts, modes[0]).tolist() == wanted.tolist()


@given(st.lists(st.integers(0, 4), min_size=1))
def test_one_hot_rows_have_one_hot_element(rows):
    assert one_hot(torch.tensor(rows), 5).tolist() == np.eye(5)[rows].tolist()
