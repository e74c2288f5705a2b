"""Packages whose specification or records are damaged or unknown are told in the words of corepress."""

from functools import partial

import coremltools
import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import Executable, convert, inspect, read_weights, verify
from corepress.errors import ExportError


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (99, "specification version 99; this version of corepress knows those up to 10"),
        (11, "specification version 11; this version of corepress knows those up to 10"),
        (5, "specification version 5, which has no ML programs"),
    ],
)
def test_a_version_of_the_specification_that_is_not_known_is_told(version, message, tmp_path):
    package = tmp_path / "model.mlpackage"
    convert(nn.Linear(4, 4), torch.zeros(1, 4)).save(str(package))
    (path,) = package.rglob("*.mlmodel")
    spec = coremltools.proto.Model_pb2.Model.FromString(path.read_bytes())
    spec.specificationVersion = version
    path.write_bytes(spec.SerializeToString())
    for use in (read_weights, inspect, Executable, Pipeline([Stage("rtn")]).compress):
        with pytest.raises(ExportError, match=message):
            use(package)


@pytest.mark.parametrize("record", ["weights", "parts", "unused", "origins"])
@pytest.mark.parametrize("text", ["", "{", "3", "null", '[{"a": 1}]', '{"weight": [[]]}'])
def test_a_damaged_record_of_corepress_is_named_with_the_way_out(record, text, tmp_path):
    network = nn.Linear(4, 4)
    model = convert(network, torch.zeros(1, 4))
    model.user_defined_metadata[f"com.corepress.{record}"] = text
    message = f"record 'com.corepress.{record}' is damaged: .* delete it from the user-defined metadata"
    use = Pipeline([Stage("rtn")]).compress if record == "origins" else partial(verify, model=network)
    with pytest.raises(ExportError, match=message):
        use(model)
    del model.user_defined_metadata[f"com.corepress.{record}"]
    use(model)


@pytest.mark.parametrize("text", ["", "3", "["])
def test_what_earlier_runs_recorded_may_be_anything(text, tmp_path):
    model = convert(nn.Linear(4, 4), torch.zeros(1, 4))
    model.user_defined_metadata["com.corepress.recipe"] = text
    assert Pipeline([Stage("rtn")]).compress(model) is not None
