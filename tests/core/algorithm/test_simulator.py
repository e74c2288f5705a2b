import pytest
import torch
from torch import nn

from corepress.algorithm import Simulator
from corepress.algorithm.simulator import KeepZeros
from corepress.encoding import Dense, Sparse

MASK = torch.tensor([[True, False], [False, True]])


def test_the_step_counter_is_part_of_the_state():
    simulator = Simulator()
    simulator.step()
    simulator.step()
    restored = Simulator()
    restored.load_state_dict(simulator.state_dict())
    assert int(restored.step_count) == 2


def test_it_says_what_it_produces():
    assert repr(Simulator()) == "Simulator(produces='sparsity')"


def test_forward_and_encode_are_left_to_the_algorithm():
    with pytest.raises(NotImplementedError):
        Simulator()(torch.ones(1))
    with pytest.raises(NotImplementedError):
        Simulator().encode(torch.ones(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_old_zeros_stay_exact_zeros(dtype):
    weight = torch.tensor([[1.0, torch.inf], [torch.nan, -2.0]], dtype=dtype)
    shown = KeepZeros(MASK)(weight)
    assert shown.dtype is dtype
    assert shown.tolist() == [[1.0, 0.0], [0.0, -2.0]]


def test_no_gradient_reaches_old_zeros():
    weight = nn.Parameter(torch.ones(2, 2))
    KeepZeros(MASK)(weight).sum().backward()
    assert weight.grad.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_weight_is_encoded_as_sparse_as_it_was():
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert KeepZeros(MASK).encode(weight) == Sparse(MASK, Dense(weight))


def test_the_mask_is_a_copy():
    mask = MASK.clone()
    simulator = KeepZeros(mask)
    mask.zero_()
    assert torch.equal(simulator.mask, MASK)
