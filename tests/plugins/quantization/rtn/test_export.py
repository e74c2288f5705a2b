"""Quantized weights in Core ML packages: every granularity and every joint form is stored exactly."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml

PRUNING = Stage("magnitude", {"global_config": {"target_sparsity": 0.5}})
BLOCKS = {"weight_dtype": "int4", "granularity": "per_block", "block_size": 4}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3)
        self.up = nn.ConvTranspose2d(8, 12, 2)
        self.fc = nn.Linear(12, 16)

    def forward(self, images):
        return self.fc(torch.relu(self.up(torch.relu(self.conv(images)))).mean((2, 3)))


def exported(stages, target):
    """Return what the report and the package say of each weight, verified to be equal."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Network().eval()
    pipeline = Pipeline(stages)
    inputs = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    small = pipeline.compress(model)
    stored = coreml.verify(coreml.convert(small, inputs, minimum_deployment_target=target), small, inputs).as_dict()
    rows = [(row, stored[row.name]) for row in pipeline.report().done]
    assert len(rows) == 3
    assert all(found["equal"] for _, found in rows)
    return rows


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_eight_bits_need_no_more_than_ios16(scheme, granularity):
    options = {"quantization_scheme": scheme, "granularity": granularity}
    for _, stored in exported([Stage("rtn", {"global_config": options})], "iOS16"):
        assert stored["stored_as"] == "int8"


@pytest.mark.parametrize(
    "stages",
    [
        [Stage("rtn", {"global_config": BLOCKS})],
        [Stage("rtn", {"global_config": BLOCKS | {"weight_dtype": "uint4", "quantization_scheme": "affine"}})],
        [PRUNING, Stage("rtn")],
        [PRUNING, Stage("rtn", {"global_config": BLOCKS})],
        [Stage("rtn", {"global_config": {"granularity": "per_tensor"}}), Stage("kmeans")],
        [Stage("kmeans"), Stage("rtn")],
        [Stage("kmeans", {"global_config": {"cluster_dim": 2}}), Stage("rtn")],
        [PRUNING, Stage("kmeans"), Stage("rtn")],
    ],
    ids=lambda stages: "-".join(str(stage.algorithm) for stage in stages),
)
def test_blocks_and_joint_forms_are_exact(stages):
    for row, stored in exported(stages, "iOS18"):
        assert stored["nbytes"] == row.bytes_after
