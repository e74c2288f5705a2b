"""Module kinds of other packages that the core knows by name."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, verify
from corepress.targets import torch_weights

Conv1D = pytest.importorskip("transformers.pytorch_utils").Conv1D


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = Conv1D(24, 16), Conv1D(8, 24)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)))


@pytest.mark.parametrize(
    ("algorithm", "options", "form"),
    [
        ("kmeans", {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 4}, "4-bit palette, "),
        ("rtn", {"weight_dtype": "int4", "granularity": "per_block", "block_size": 8}, "int4 in blocks"),
        ("gptq", {"weight_dtype": "int4"}, "int4"),
        ("magnitude", {"n_m_ratio": (2, 4)}, "50% sparse"),
        ("sparse_gpt", {"target_sparsity": 0.5}, "50% sparse"),
    ],
)
def test_the_linear_layers_of_transformers_are_compressed_exported_and_verified(algorithm, options, form):
    model, batch = Block().eval(), (torch.randn(2, 5, 16),)
    small = Pipeline([Stage(algorithm, {"global_config": options})]).compress(model, data=[batch])
    weights = torch_weights(small)
    assert [weight.name for weight in weights] == ["up.weight", "down.weight"]
    assert all(weight.encoding().form.describe().startswith(form) for weight in weights)
    assert [(weight.output_axis, weight.input_axis) for weight in weights] == [(1, 0), (1, 0)]
    verify(convert(small, batch, minimum_deployment_target="iOS18"), small, batch)


def test_their_activations_are_quantized():
    model, batch = Block(), (torch.randn(2, 5, 16),)
    run = Pipeline([Stage("linear_qat")]).begin(model, batch)
    run.model(*batch)
    run.step()
    shown = run.model.eval()(*batch)
    finished = run.finalize()
    assert {row.name for row in run.report().done if not row.stored} == {"up:addmm", "relu", "down:addmm"}
    torch.testing.assert_close(finished(*batch), shown)
    package = convert(finished, batch, minimum_deployment_target="iOS17")
    verify(package, finished, batch)
    operations = package._mil_program.functions["main"].operations
    assert [op.op_type for op in operations].count("quantize") == 4
