"""Milestones: which call of `step` makes which change, also per module."""

import pytest
import torch
from torch import nn

from corepress_plugins.quantization import LinearQuantizer
from corepress_plugins.quantization.linear_qat.schedule import Milestones


@pytest.mark.parametrize(
    ("milestones", "observed", "quantized", "frozen"),
    [
        ((0, 0, 0, 0), [False, False, False, False], [False, True, True, True], [False, True, True, True]),
        ((0, 1, 2, 3), [False, True, True, False], [False, False, True, True], [False, False, False, False]),
        ((0, 2, -1, -1), [False, True, True, True], [False, False, False, True], [False] * 4),
        ((-1, -1, -1, 1), [False] * 4, [False] * 4, [False, False, True, True]),
        (None, [True] * 4, [True] * 4, [False] * 4),
    ],
)
def test_the_call_that_finds_as_many_before_it_makes_the_change(milestones, observed, quantized, frozen):
    found = Milestones.of(milestones)
    assert [found.observes(steps) for steps in range(4)] == observed
    assert [found.quantizes(steps) for steps in range(4)] == quantized
    assert [found.freezes(steps) for steps in range(4)] == frozen


def test_modules_have_milestones_of_their_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    config = {
        "global_config": {"milestones": [0, 1, -1, -1], "activation_dtype": "float32"},
        "module_name_configs": {"1": {"milestones": [0, 2, -1, -1], "activation_dtype": "float32"}},
    }
    quantizer = LinearQuantizer(model, config)
    prepared = quantizer.prepare(torch.ones(1, 4))
    changed = []
    for _ in range(4):
        pairs = zip(prepared, model, strict=True)
        changed.append([not torch.equal(new.weight, old.weight) for new, old in pairs])
        quantizer.step()
    assert changed == [[False, False], [False, False], [True, False], [True, True]]
