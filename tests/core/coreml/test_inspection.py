import torch
from tests.networks.images import SmallConvNet

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
