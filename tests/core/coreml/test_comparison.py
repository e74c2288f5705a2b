import json
import math

import coremltools as ct
import pytest
import torch
from coremltools.optimize import coreml as cto
from tests.networks.small import SmallNet

from corepress.coreml import convert, diff, inspect
from corepress.errors import ExportError

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SmallNet().eval()


@pytest.fixture(scope="module")
def whole(network):
    return convert(network, IMAGE)


@pytest.fixture(scope="module")
def palettized(whole):
    config = cto.OpPalettizerConfig(nbits=4, weight_threshold=10)
    return cto.palettize_weights(whole, cto.OptimizationConfig(global_config=config))


def test_a_package_equals_itself(whole):
    found = diff(whole, whole, IMAGE)
    assert {row.equal for row in found.weights} == {True}
    assert {row.snr_db for row in (*found.weights, *found.layers)} == {math.inf}
    assert (found.only_in_a, found.only_in_b) == ((), ())
    assert found.nbytes[0] == found.nbytes[1] == inspect(whole).nbytes


def test_weights_are_matched_without_what_tools_append(whole, palettized):
    found = diff(whole, palettized).as_dict()
    row = found["weights"]["classifier_weight_to_fp16"]
    assert row["a"] == {
        "name": "classifier_weight_to_fp16",
        "stored_as": "dense",
        "shape": (10, 16),
        "nbytes": 320,
    }
    assert row["b"] == {
        "name": "classifier_weight_to_fp16_palettized",
        "stored_as": "4-bit palette",
        "shape": (10, 16),
        "nbytes": 112,
    }
    assert not row["equal"]
    assert 15 < row["snr_db"] < 40
    assert len(found["weights"]) == 4
    assert found["layers"] == {}
    json.dumps(found)


def test_single_and_half_precision_are_compared(network, whole):
    single = convert(network, IMAGE, compute_precision=ct.precision.FLOAT32)
    found = diff(single, whole, IMAGE)
    assert min(row.snr_db for row in found.weights) > 60
    assert [row.is_output for row in found.layers].count(True) == 1
    assert min(row.snr_db for row in found.layers) > 50
    assert len(found.layers) >= 5


def test_layers_are_compared_in_order(whole, palettized):
    for inputs in (IMAGE, (IMAGE.numpy(),), {"x": IMAGE}):
        layers = diff(whole, palettized, inputs).layers
        assert layers[0].snr_db == math.inf  # the input, rounded
        assert layers[-1].is_output
        assert layers[-1].name == whole.get_spec().description.output[0].name
        assert max(row.snr_db for row in layers[1:]) < 50


def test_the_tables_are_printed(whole, palettized):
    text = str(diff(whole, palettized, IMAGE)).splitlines()
    assert " ".join(text[0].split()) == "weight a b bytes in a bytes in b SNR dB max difference"
    (summary,) = [line for line in text if line.startswith("0 of 4 weights that both have are equal; ")]
    assert summary.endswith(" times smaller), other constants included")
    assert " ".join(text[text.index("") + 1].split()) == "layer shape SNR dB max error"
    assert " (output) " in text[-1]
    assert " equal" in str(diff(whole, whole)).splitlines()[2]


def test_weights_of_one_package_alone_are_listed(network, whole):
    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier, self.further = torch.nn.Linear(16, 12), torch.nn.Linear(12, 4)

        def forward(self, x):
            return self.further(self.classifier(x))

    found = diff(whole, convert(Other().eval(), torch.zeros(1, 16)))
    assert [row.name for row in found.only_in_b] == ["further_weight_to_fp16"]
    assert len(found.only_in_a) == 3
    (row,) = found.weights
    assert (row.name, row.snr_db, row.max_difference, row.equal) == ("classifier_weight_to_fp16", None, None, False)
    lines = str(found).splitlines()
    assert lines[2].endswith("shape (10, 16) in a, (12, 16) in b")
    assert lines[-2].endswith("only in b")


def test_wrong_inputs_are_refused(whole):
    with pytest.raises(ExportError, match=r"^the program has no input 'y'; expected 'x' "):
        diff(whole, whole, {"y": IMAGE})
    with pytest.raises(ExportError) as caught:
        diff(whole, whole, (IMAGE, IMAGE))
    assert str(caught.value) == "2 inputs are given, but the program takes 'x'"


def test_what_is_no_package_is_refused(whole, tmp_path):
    with pytest.raises(ExportError, match=r"is not an \.mlpackage; give the folder that MLModel\.save has written$"):
        diff(whole, tmp_path)
