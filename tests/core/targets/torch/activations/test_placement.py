"""Which activations are quantized, and which share a quantizer."""

import torch
from tests.networks.residual import ResidualNetwork
from torch import nn

from corepress.targets.torch.activations.placement import place, units
from corepress.targets.torch.activations.recording import record


def groups(model, example_inputs, chosen=lambda _: True):
    """Return the points of each group, with `+` for those that are never negative and the fixed range of others."""
    found = {}
    for group in place(record(model, example_inputs), chosen):
        fixed = group.facts.fixed_range
        found[" ".join(map(str, group.points))] = "+" if group.facts.non_negative else str(fixed or "")
    return found


def test_the_whole_of_a_residual_network():
    assert groups(ResidualNetwork(), [2, 3, 8, 8]) == {
        "stem:conv2d.input": "",
        "relu:relu.output relu.output cat.output pool:max_pool2d.output": "+",
        "norm:batch_norm.output": "",
        "mixed:conv2d.output mean.output": "",
        "gate:linear.input mul.input": "",
        "sigmoid:sigmoid.output": "(0.0, 1.0)",
        "mul.output": "",
        "head:linear.output": "",
    }


def test_normalization_and_activation_belong_to_the_layer():
    found = [[str(call.site) for call in unit.calls] for unit in units(record(ResidualNetwork(), [2, 3, 8, 8]))]
    assert found[:3] == [
        ["stem:conv2d", "stem_norm:batch_norm", "relu:relu"],
        ["conv:conv2d", "norm:batch_norm"],
        ["add", "relu"],
    ]


def test_a_layer_whose_result_others_read_too_is_not_fused():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.last = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            y = self.linear(x)
            return self.last(y.relu()) + y

    assert groups(Branch(), [2, 4]) == {
        "linear:linear.input": "",
        "linear:linear.output": "",
        "relu.output": "+",
        "last:linear.output": "",
        "add.output": "",
    }


def test_who_is_excluded_reads_and_computes_floats():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    found = groups(model, [2, 4], lambda site: site.module != "2")
    assert found == {
        "0:linear.input": "",
        "1:relu.output": "+",
        "4:linear.input": "",
        "4:linear.output": "",
    }


def test_views_and_dropout_carry_the_quantizer_on():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key, self.dropout = nn.Linear(8, 8), nn.Linear(8, 8), nn.Dropout(0.5)

        def forward(self, x):
            q, k = (p(x).view(2, 3, 2, 4).transpose(1, 2) for p in (self.query, self.key))
            return self.dropout(torch.matmul(q, k.transpose(-1, -2))) @ q

    assert groups(Attention(), [2, 3, 8]) == {
        "query:linear.input key:linear.input": "",
        "query:linear.output": "",
        "key:linear.output": "",
        "matmul.output": "",
        "matmul:1.output": "",
    }


def test_nothing_is_quantized_around_a_layer_normalization_or_a_table():
    model = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    assert groups(model, torch.tensor([[1, 2]])) == {"2:linear.input": "", "2:linear.output": ""}


def test_products_and_sums_of_what_is_never_negative_are_neither():
    class Both(nn.Module):
        def forward(self, x):
            y = x.relu()
            return y * y + y, y - y, y * 2

    found = groups(Both(), [2, 4])
    assert {name for name, mark in found.items() if mark == "+"} == {"relu.output", "mul.output", "add.output"}


def test_a_concatenation_with_what_may_be_negative_takes_both_signs_for_all():
    class Joined(nn.Module):
        def forward(self, x):
            return torch.cat([x.relu(), x.tanh()], 1)

    assert groups(Joined(), [2, 4]) == {"relu.input tanh.input": "", "relu.output tanh.output cat.output": ""}


def test_attention_is_one_site_with_inputs_and_an_output():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            return self.attention(x, x, x, need_weights=False)[0]

    site = "attention:multi_head_attention_forward"
    assert list(groups(Wrapped(), [2, 3, 8])) == [f"{site}.input {site}.input1 {site}.input2", f"{site}.output"]
