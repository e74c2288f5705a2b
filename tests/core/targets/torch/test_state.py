"""States of compressed models, loaded into fresh ones."""

import pytest
import torch
from tests.networks.residual import ResidualNetwork
from torch import nn

import corepress
from corepress import Pipeline, Stage
from corepress.encoding import Dense
from corepress.errors import StateError
from corepress.targets import load_state, torch_weights
from corepress.testing.snapshot import Snapshot
from corepress_plugins.quantization import LinearQuantizer


def _model():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    return model


@pytest.fixture
def compressed():
    return Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.75}})]).compress(_model())


def test_a_fresh_model_becomes_the_compressed_one(compressed):
    loaded = load_state(_model(), compressed.state_dict())
    assert list(loaded.state_dict()) == list(compressed.state_dict())
    for mine, theirs in zip(torch_weights(loaded), torch_weights(compressed), strict=True):
        assert mine.encoding() == theirs.encoding()


def test_the_model_itself_is_returned_and_the_state_is_copied(compressed):
    model, state = _model(), compressed.state_dict()
    assert corepress.load_state(model, state) is model
    with torch.no_grad():
        model[0].weight.zero_()
    assert compressed[0].weight.any()
    assert model.get_buffer("0._COREML_/weight/compression_type") is not state["0._COREML_/weight/compression_type"]


def test_the_state_of_an_uncompressed_model_removes_metadata(compressed):
    loaded = load_state(compressed, _model().state_dict())
    assert list(loaded.state_dict()) == list(_model().state_dict())
    assert all(isinstance(weight.encoding(), Dense) for weight in torch_weights(loaded))


def test_a_module_that_the_model_lacks_is_named(compressed):
    with pytest.raises(StateError) as caught:
        load_state(nn.Sequential(nn.Linear(8, 8)), compressed.state_dict())
    assert str(caught.value) == "the state does not fit Sequential: it has no module '1'"


def test_shapes_that_do_not_fit_are_named(compressed):
    with pytest.raises(StateError, match=r"the state does not fit Sequential: .*\n.*size mismatch for 1.weight"):
        load_state(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 5)), compressed.state_dict())


class Network(nn.Module):
    """Modules of several kinds, tied weights, and a buffer whose elements share memory."""

    def __init__(self, seed):
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.conv = nn.Conv2d(8, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 16)
        self.head.weight = self.embedding.weight
        self.register_buffer("mask", torch.ones(1, 4).expand(4, 4), persistent=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


def palettized(seed, **options):
    return Pipeline([Stage("kmeans", {"global_config": {"n_bits": 2, **options}})]).compress(Network(seed))


@pytest.fixture
def network():
    """A compressed network, into which states are loaded."""
    return palettized(1)


def refusal(network, state):
    """The error for a state, after which the network is what it was."""
    before, encodings = Snapshot.of(network), [weight.encoding() for weight in torch_weights(network)]
    names = list(network.state_dict())
    with pytest.raises(StateError) as caught:
        load_state(network, state)
    assert before.differences() == []
    assert list(network.state_dict()) == names
    assert [weight.encoding() for weight in torch_weights(network)] == encodings
    return str(caught.value)


def test_a_state_takes_the_place_of_another(network):
    state = palettized(2).state_dict()
    load_state(network, state)
    for mine, theirs in zip(torch_weights(network), torch_weights(palettized(2)), strict=True):
        assert mine.encoding() == theirs.encoding()


LUT = "conv._COREML_/weight/lut"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("conv.weight", [1.0], "'conv.weight' is of type list, not a tensor"),
        (LUT, None, f"{LUT!r} is of type NoneType, not a tensor"),
        (3, torch.ones(3), "its key 3 is no name"),
        (
            "conv.weight",
            torch.ones(8, 8, 1, 1, dtype=torch.int32),
            "'conv.weight' has dtype torch.int32, not torch.float32",
        ),
        (
            "norm.num_batches_tracked",
            torch.ones(()),
            "'norm.num_batches_tracked' has dtype torch.float32, not torch.int64",
        ),
        ("head.bias", torch.ones(8), "size mismatch for head.bias"),
        ("more", torch.ones(8), 'Unexpected key(s) in state_dict: "more"'),
        ("nowhere._COREML_/weight/lut", torch.ones(8), "it has no module 'nowhere'"),
        ("conv._COREML_/kernel/lut", torch.ones(8), "module 'conv' has no parameter 'kernel'"),
        ("conv._COREML_/lut", torch.ones(8), "'_COREML_/lut' of module 'conv' does not name a parameter and a field"),
        (LUT, torch.ones(1, 1, 1, 1, 4, 1, device="meta"), f"{LUT!r} is on the meta device"),
        (
            "conv._COREML_/weight/compression_type",
            torch.tensor([2], device="meta"),
            "'conv._COREML_/weight/compression_type' is on the meta device",
        ),
        ("conv.weight", torch.ones(8, 8, 1, 1, device="meta"), "'conv.weight' is on the meta device"),
        (LUT, torch.ones(1, 1, 1, 1, 4, 1).to_sparse(), "'_COREML_/weight/lut' of module 'conv' has layout"),
    ],
)
def test_a_wrong_entry_is_named_and_nothing_is_loaded(network, key, value, text):
    found = refusal(network, {**palettized(2).state_dict(), key: value})
    assert found.startswith("the state does not fit Network: ")
    assert text in found


@pytest.mark.parametrize("key", ["head.bias", "norm.running_mean", "attention.in_proj_weight"])
def test_a_missing_entry_is_named_and_nothing_is_loaded(network, key):
    state = palettized(2).state_dict()
    del state[key]
    assert f'Missing key(s) in state_dict: "{key}"' in refusal(network, state)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("lut", torch.ones(1, 1, 1, 1, 5, 1), "cannot have shape"),
        ("lut", torch.ones(3, 1, 1, 1, 4, 1), "LUT groups (3, 1, 1, 1) do not divide indices"),
        ("lut", torch.ones(4), "IndexError"),
        ("compression_type", torch.tensor([7]), "unknown compression_type 7"),
        ("compression_type", torch.tensor(2), "TypeError"),
        ("compression_type", torch.tensor([3]), "KeyError: 'quantization_scale'"),
        ("vector_axis", torch.tensor(9), "IndexError"),
    ],
)
def test_metadata_that_describe_no_weight_are_refused(network, field, value, text):
    found = refusal(network, {**palettized(2).state_dict(), f"conv._COREML_/weight/{field}": value})
    assert found.startswith("conv.weight: its '_COREML_' buffers describe no weight of shape (8, 8, 1, 1) (")
    assert text in found


def test_metadata_without_a_compression_type_are_refused(network):
    state = palettized(2).state_dict()
    del state["conv._COREML_/weight/compression_type"]
    found = refusal(network, state)
    assert found.startswith("conv.weight: its '_COREML_' buffers describe no weight of shape (8, 8, 1, 1) (")
    assert "'lut' without 'compression_type'" in found


def test_what_is_no_state_is_refused(network):
    assert refusal(network, None) == (
        "the state does not fit Network: it is of type NoneType, not a mapping of tensors by name"
    )


def test_a_hook_that_fails_leaves_the_model_as_it_was(network):
    def failing(module, *arguments):
        raise KeyError("unheard of")

    handle = network.head.register_load_state_dict_pre_hook(failing)
    assert "unheard of" in refusal(network, palettized(2).state_dict())
    handle.remove()


def test_numbers_of_another_precision_are_loaded(network):
    halves = {
        key: value.half() if value.is_floating_point() else value for key, value in palettized(2).state_dict().items()
    }
    loaded = load_state(network, halves)
    assert loaded.conv.weight.dtype is torch.float32
    assert {weight.encoding().kind for weight in torch_weights(loaded)} == {"palettized"}


class Counter(nn.Linear):
    """A layer whose state holds more than tensors."""

    count = 0

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]


def test_what_is_no_tensor_is_loaded_and_restored_too():
    model = nn.Sequential(Counter(4, 4), nn.Linear(4, 4))
    state = {**model.state_dict(), "0._extra_state": {"count": 3}}
    with pytest.raises(StateError, match=r"'NoneType' object is not subscriptable"):
        load_state(model, {**state, "0._extra_state": None})
    with pytest.raises(StateError, match=r"size mismatch for 1.bias"):
        load_state(model, {**state, "1.bias": torch.ones(3)})
    assert model[0].count == 0
    load_state(model, state)
    assert model[0].count == 3


def test_quantized_activations_are_restored_with_the_whole_model_only(tmp_path):
    model = ResidualNetwork()
    batch = model.batches()[0]
    quantizer = LinearQuantizer(model)
    quantizer.prepare(batch)(*batch)
    finished = quantizer.finalize()
    with pytest.raises(StateError, match=r"8 quantized activations, such as .*save the whole model with torch\.save"):
        load_state(ResidualNetwork(), finished.state_dict())
    torch.save(finished, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    assert torch.equal(again(*batch), finished(*batch))
