"""Core ML programs with weights that are mostly zero."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.errors import PlanWarning


def test_a_sparse_weight_is_stored_sparse_and_a_dense_one_as_it_is():
    model = nn.Sequential(nn.Linear(32, 16), nn.Linear(16, 8)).eval()
    with torch.no_grad():
        model[0].weight[:, 8:] = 1e-4
        model[0].weight[:, :8] = 1.0
    pipeline = Pipeline([Stage("threshold", {"global_config": {"threshold": 1e-3}})])
    with pytest.warns(PlanWarning, match="were left as they were"):
        small = pipeline.compress(coreml.convert(model, torch.zeros(1, 32)))
    forms = {w.shape: w.encoding.form.describe() for w in coreml.read_weights(small) if len(w.shape) > 1}
    assert forms == {(16, 32): "75% sparse", (8, 16): "dense"}
