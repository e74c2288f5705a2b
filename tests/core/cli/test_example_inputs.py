import pytest
import torch

from corepress.cli.commands import WrongUsage
from corepress.cli.example_inputs import example_inputs


def test_shapes_become_tensors_in_their_order():
    pixels, tokens = example_inputs(["1,3,4,4", "1,128:int32"], None, "models:digits")
    assert (pixels.shape, pixels.dtype) == ((1, 3, 4, 4), torch.float32)
    assert (tokens.shape, tokens.dtype) == ((1, 128), torch.int32)
    assert not tokens.any()


def test_values_are_the_same_every_time_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, second = (example_inputs(["2,2"], None, "models:digits")[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.usefixtures("folder")
def test_a_function_can_return_them():
    assert example_inputs([], "models:example_inputs", "models:digits").shape == (1, 1, 8, 8)


@pytest.mark.parametrize("text", ["", "0,1", "-1", "3x4", "1,2:float8", "1.5"])
def test_other_texts_are_refused(text):
    with pytest.raises(WrongUsage, match="must look like"):
        example_inputs([text], None, "models:digits")
