"""Pruning in training of weights that are palettized or quantized already: what they are stays."""

import copy

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, verify
from corepress.errors import PlanError
from corepress.targets import torch_weights

BEFORE = {
    "4-bit palette": Stage("kmeans", {"global_config": {"n_bits": 4}}),
    "int8": Stage("rtn"),
    "int4 in blocks": Stage(
        "rtn", {"global_config": {"weight_dtype": "int4", "granularity": "per_block", "block_size": 8}}
    ),
}
SCHEDULE = {"scheduler": {"update_steps": [1, 2]}, "target_sparsity": 0.5, "weight_threshold": 0}
PRUNE = Stage("magnitude", {"global_config": SCHEDULE})


def compressed(form):
    torch.manual_seed(0)
    return Pipeline([BEFORE[form]]).compress(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)))


def train(run, steps):
    optimizer = torch.optim.SGD(run.model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        run.model(torch.ones(4, 64)).square().sum().backward()
        optimizer.step()
        run.step()


@pytest.mark.parametrize("form", BEFORE)
def test_kept_values_stay_what_they_are_and_the_result_is_joint(form):
    model, inputs = compressed(form), torch.ones(1, 64)
    before = copy.deepcopy(model[0].weight.data)
    run = Pipeline([PRUNE]).begin(model, (inputs,))
    train(run, 3)
    shown = run.model.eval()(inputs)
    small = run.finalize()
    kept = small[0].weight != 0
    assert float(kept.float().mean()) == 0.5
    assert torch.equal(small[0].weight[kept], before[kept])
    assert {weight.encoding().form.describe() for weight in torch_weights(small)} == {f"50% sparse, {form}"}
    torch.testing.assert_close(small(inputs), shown)
    assert all(row.equal for row in verify(convert(small, inputs), small, inputs).weights)


def test_a_run_is_resumed():
    model = compressed("4-bit palette")
    first, second = (Pipeline([PRUNE]).begin(model, (torch.ones(1, 64),)) for _ in range(2))
    train(first, 2)
    second.load_state_dict(first.state_dict())
    second.model.load_state_dict(first.model.state_dict())
    assert torch.equal(first.finalize()[0].weight, second.finalize()[0].weight)


def test_a_stage_that_trains_values_is_still_refused():
    with pytest.raises(PlanError, match="stored as 4-bit palette already"):
        Pipeline([PRUNE, Stage("linear_qat")]).begin(compressed("4-bit palette"), (torch.ones(1, 64),))
