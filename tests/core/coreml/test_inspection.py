import math

import pytest
import torch
from tests.networks.images import SmallConvNet
from torch import nn

from corepress.coreml import convert, inspect
from corepress.encoding import Dense, Sparse


def test_every_weight_is_described(encodings, compress):
    sparse = Sparse(torch.arange(216).reshape(8, 3, 3, 3) % 4 == 0, Dense(torch.full((8, 3, 3, 3), 0.5)))
    model = compress(SmallConvNet(), {"first.weight": sparse, "fc.weight": encodings.palette((10, 8), 2)})
    model._corepress_provenance = {"recipe": "mine"}
    found = inspect(convert(model, torch.zeros(1, 3, 8, 8)))
    first = found.as_dict()["weights"]["first_weight"]
    assert first["stored_as"] == "75% sparse"
    assert (first["nbytes"], first["bits"], first["sparsity"], first["distinct"]) == (135, 5.0, 0.75, 2)
    assert first["consumers"][0].startswith("conv ")
    assert found.as_dict()["weights"]["fc_weight"]["distinct"] <= 4
    assert found.target == "iOS18"
    assert found.made_by == {"recipe": "mine"}
    assert found.nbytes == found.other_nbytes + sum(weight.nbytes for weight in found.weights)
    text = str(found)
    header = "weight stored as dtype shape bits bytes sparsity distinct used by"
    assert " ".join(text.splitlines()[0].split()) == header
    assert text.splitlines()[-1] == "recipe: mine"


def test_biases_and_norms_are_counted_but_not_listed():
    found = inspect(convert(SmallConvNet(), torch.zeros(1, 3, 8, 8)))
    assert {len(weight.shape) for weight in found.weights} == {2, 4}
    assert found.other_nbytes == 2 * (8 + 8 + 10)


def test_another_package_gives_each_weight_its_ratio(encodings, compress):
    image = torch.zeros(1, 3, 8, 8)
    model = SmallConvNet()
    before = convert(model, image)
    compress(model, {"fc.weight": Dense(model.fc.weight.detach() * 0.9)})
    found = inspect(convert(model, image), before)
    ratios = {weight.name.removesuffix("_to_fp16"): weight.snr_db for weight in found.weights}
    assert ratios["second_weight"] == math.inf
    assert ratios["fc_weight"] == pytest.approx(20, abs=0.1)
    lines = str(found).splitlines()
    assert lines[0].endswith("  SNR dB")
    assert {line.split()[-1] for line in lines[2:-1]} == {"inf", f"{ratios['fc_weight']:.2f}"}


def test_without_another_package_there_is_no_ratio():
    found = inspect(convert(SmallConvNet(), torch.zeros(1, 3, 8, 8)))
    assert {weight.snr_db for weight in found.weights} == {None}
    assert not found.compared
    assert "SNR" not in str(found)


def test_weights_of_recurrent_layers_and_products_are_listed():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(12, 4)
            self.lstm = nn.LSTM(4, 6, batch_first=True)
            self.matrix = nn.Parameter(torch.rand(2, 6, 5))

        def forward(self, ids):
            return self.lstm(self.table(ids))[0] @ self.matrix

    found = inspect(convert(Reader().eval(), torch.zeros(2, 3, dtype=torch.int32)))
    shapes = {consumer.split()[0]: set() for weight in found.weights for consumer in weight.consumers}
    for weight in found.weights:
        for consumer in weight.consumers:
            shapes[consumer.split()[0]].add(weight.shape)
    assert shapes["gather"] == {(12, 4)}
    assert {(24, 4), (24, 6)} <= shapes["lstm"]
    assert shapes["matmul"] == {(2, 6, 5)}
