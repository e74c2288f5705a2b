"""What goes wrong with calibration data is said with the number of the batch."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from corepress.calibration import SecondMoment, collect
from corepress.errors import PlanError
from corepress.targets import torch_weights


def gather(data, model=None, loss_fn=None):
    model = model or nn.Linear(3, 2)
    weights = torch_weights(model)
    return collect(model, weights, {weight.name: [SecondMoment.spec()] for weight in weights}, data, loss_fn)


@pytest.mark.parametrize("data", [{"x": torch.ones(1, 3)}, 5, "data", np.ones((2, 3))], ids=str)
def test_data_that_are_no_batches_are_refused(data):
    with pytest.raises(PlanError, match=r"must be a list or another iterable of batches.*put a single batch in a list"):
        gather(data)


@pytest.mark.parametrize(
    ("batch", "named"), [(None, "None"), ("text", "type str"), (np.ones((1, 3)), "type ndarray"), (3, "type int")]
)
def test_a_batch_of_a_wrong_kind_is_refused_by_number_and_type(batch, named):
    with pytest.raises(PlanError, match=rf"batch 1 of the calibration data is .*{named}.*loss_fn="):
        gather([torch.ones(1, 3), batch])


def test_a_loss_function_gets_batches_of_any_kind():
    found = gather([np.ones((1, 3), np.float32)], loss_fn=lambda model, batch: model(torch.from_numpy(batch)))
    assert found["weight"]["second_moment"].count == 1


def test_a_loader_that_fails_is_named_with_its_batch():
    def failing():
        yield torch.ones(1, 3)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full") as caught:
        gather(failing())
    assert caught.value.__notes__ == ["while batch 1 of the calibration data was read"]


@pytest.mark.parametrize(
    ("batch", "named"),
    [(torch.ones(1, 4), r"a tensor of shape \(1, 4\) on cpu"), ((torch.ones(1, 3), 1), "a tuple of 2")],
)
def test_a_model_that_fails_on_a_batch_says_which(batch, named):
    with pytest.raises((RuntimeError, TypeError)) as caught:
        gather([torch.ones(1, 3), batch])
    (note,) = caught.value.__notes__
    assert note.startswith("while the model ran on batch 1 of the calibration data, ")
    assert re.search(named, note)


def test_ragged_batches_count_by_their_samples():
    assert gather([torch.ones(5, 3), torch.ones(2, 3)])["weight"]["second_moment"].count == 7
