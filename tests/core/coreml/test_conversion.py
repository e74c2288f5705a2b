import copy

import numpy as np
import pytest
import torch
from tests.networks.images import SmallConvNet, VolumeNet
from tests.networks.text import TextTagger
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, inspect, read_weights, verify
from corepress.encoding import Dense, Sparse
from corepress.errors import ExportError

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(14).reshape(2, 7)


@pytest.fixture
def tagger(encodings, compress):
    e = encodings
    return compress(
        TextTagger(),
        {
            "embed.weight": Sparse(e.mask(50, 16), e.palette((50, 16), 4, (10, 1))),
            "conv.weight": e.palette((16, 16, 3), 3, (4, 1, 1), scale=e.scales(16, 1, 1)),
            "up.weight": e.affine((16, 16, 3), 4, (4, 16, 1), zero_points=True),
            "encoder.self_attn.in_proj_weight": Sparse(e.mask(48, 16), e.palette((48, 16), 6, lut_bits=8)),
            "encoder.self_attn.out_proj.weight": e.affine((16, 16), 8, (16, 1), size=1e-6),
            "encoder.linear1.weight": e.palette((32, 16), 2, dim=2, axis=0, lut_bits=8),
            "encoder.linear2.weight": Sparse(e.mask(16, 32), e.affine((16, 32), 8, (16, 1))),
            "cross.in_proj_weight": Sparse(e.mask(48, 16), e.palette((48, 16), 6, scale=e.scales(48, 1))),
            "cross.out_proj.weight": Sparse(e.mask(16, 16, kept=-1), Dense(e.normal(16, 16))),
        },
    )


@pytest.fixture
def convnet(encodings, compress):
    e = encodings
    wanted = {"first.weight": e.affine((8, 3, 3, 3), 8, (8, 1, 1, 1)), "fc.weight": e.palette((10, 8), 4)}
    return compress(SmallConvNet(), wanted)


def operations(mlmodel):
    return [op for op in mlmodel._mil_program.functions["main"].operations if op.op_type != "const"]


@pytest.mark.parametrize("precision", ["FLOAT16", "FLOAT32"])
def test_every_compressed_weight_of_a_text_network_is_exact(tagger, precision):
    import coremltools as ct

    outcome = verify(convert(tagger, IDS, compute_precision=ct.precision[precision]), tagger)
    assert all(row.equal for row in outcome.weights)
    assert len(outcome.weights) == 9


def test_the_compute_precision_can_be_given_as_text(tagger):
    assert {weight.dtype for weight in read_weights(convert(tagger, IDS, compute_precision="float32"))} == {"fp32"}
    for wrong in ("fp32", 32):
        with pytest.raises(ExportError, match=f"must be one of 'float16', 'float32', .*, not {wrong!r}"):
            convert(tagger, IDS, compute_precision=wrong)


def test_a_tied_weight_is_stored_once(tagger):
    (embedding,) = [weight for weight in read_weights(convert(tagger, IDS)) if weight.name == "embed_weight"]
    assert {consumer.op_type for consumer in embedding.consumers} == {"gather", "linear"}


def test_volumes_and_their_transposed_convolutions_are_exact(encodings, compress):
    e = encodings
    model = compress(
        VolumeNet(),
        {
            "down.weight": Sparse(e.mask(4, 2, 3, 3, 3), e.palette((4, 2, 3, 3, 3), 4, (2, 1, 1, 1, 1))),
            "up.weight": e.affine((4, 4, 2, 2, 2), 4, (1, 4, 1, 1, 1)),
        },
    )
    outcome = verify(convert(model, torch.zeros(1, 2, 4, 6, 6)), model)
    assert [row.result for row in outcome.weights] == ["equal", "equal"]


@pytest.mark.parametrize(("target", "version"), [("iOS16", 7), ("macOS14", 8), ("iOS18", 9), ("ios26", 10)])
def test_every_target_is_served(convnet, target, version):
    mlmodel = convert(convnet, IMAGE, minimum_deployment_target=target)
    assert mlmodel.get_spec().specificationVersion == version
    assert verify(mlmodel, convnet).as_dict()["first.weight"]["equal"] is True


def test_a_batch_norm_is_never_folded_into_a_compressed_weight(convnet):
    assert "batch_norm" in {op.op_type for op in operations(convert(convnet, IMAGE))}


def test_a_batch_norm_is_folded_into_a_dense_weight():
    assert "batch_norm" not in {op.op_type for op in operations(convert(SmallConvNet(), IMAGE))}


def test_the_model_is_left_as_it_was(convnet):
    convnet.train()
    convnet.second.eval()
    before, flags = copy.deepcopy(convnet.state_dict()), [module.training for module in convnet.modules()]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    convert(convnet, IMAGE)
    after = convnet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [module.training for module in convnet.modules()] == flags
    assert not convnet._forward_hooks
    assert torch.backends.mha.get_fastpath_enabled() == fast_attention


def test_the_model_is_left_as_it_was_when_conversion_fails(convnet):
    before = list(convnet.state_dict())
    with pytest.raises(RuntimeError):
        convert(convnet.train(), torch.zeros(1, 4, 8, 8))
    assert list(convnet.state_dict()) == before
    assert convnet.training


def test_a_half_precision_model_is_converted(encodings, compress):
    model = compress(
        SmallConvNet().half(), {"first.weight": encodings.affine((8, 3, 3, 3), 8, (8, 1, 1, 1), size=2**-8)}
    )
    verify(convert(model, IMAGE.half()), model)
    assert model.first.weight.dtype is torch.float16


class WithOptions(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(20, 8)

    def forward(self, ids, mask=None, bias=None, scale=None):
        found = self.embed(ids) * scale
        return {"found": found if mask is None else found * mask[..., None], "scale": scale * 2}


def test_inputs_and_outputs_keep_their_names():
    inputs = {"scale": torch.ones(1), "ids": torch.zeros(2, 5, dtype=torch.long), "mask": torch.ones(2, 5)}
    description = convert(WithOptions(), inputs).get_spec().description
    assert [feature.name for feature in description.input] == ["ids", "mask", "scale"]
    assert [feature.name for feature in description.output] == ["found", "scale_output"]


def test_integer_inputs_are_int32(tagger):
    (feature,) = convert(tagger, (IDS,)).get_spec().description.input
    assert feature.type.multiArrayType.dataType == 0x20000 | 32


def test_options_reach_the_converter(convnet):
    import coremltools as ct

    mlmodel = convert(
        convnet,
        IMAGE,
        inputs=[ct.ImageType(name="picture", shape=(1, 3, 8, 8), scale=1 / 255)],
        classifier_config=ct.ClassifierConfig([str(i) for i in range(10)]),
    )
    description = mlmodel.get_spec().description
    assert description.input[0].name == "picture"
    assert description.input[0].type.WhichOneof("Type") == "imageType"
    assert description.predictedFeatureName == "classLabel"
    assert [op.op_type for op in operations(mlmodel)].count("mul") == 1


def test_a_weight_may_be_used_in_unusual_ways(encodings, compress):
    class Unusual(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8, bias=False)

        def forward(self, x):
            weight = self.layer.weight
            return x @ weight.t() + nn.functional.linear(x, weight * 2) + x @ weight + weight.sum()

    for target in ("iOS16", "iOS18"):
        model = compress(Unusual(), {"layer.weight": encodings.palette((8, 8), 2)})
        assert verify(convert(model, torch.zeros(3, 8), minimum_deployment_target=target), model).weights[0].equal


def test_precision_may_differ_from_operation_to_operation(convnet):
    import coremltools as ct

    selective = ct.transform.FP16ComputePrecision(op_selector=lambda op: op.op_type == "conv")
    mlmodel = convert(convnet, IMAGE, compute_precision=selective)
    assert verify(mlmodel, convnet).as_dict()["fc.weight"]["equal"] is True


def test_a_package_says_what_made_it(convnet):
    convnet._corepress_provenance = {"recipe": "stages: []", "plugins": "kmeans: corepress 0.1"}
    metadata = convert(convnet, IMAGE).user_defined_metadata
    assert metadata["com.corepress.recipe"] == "stages: []"
    assert metadata["com.corepress.plugins"] == "kmeans: corepress 0.1"
    assert metadata["com.corepress.weights"] == '{"first.weight": "first_weight", "fc.weight": "fc_weight"}'


def test_a_weight_that_the_target_cannot_hold_is_named(encodings, compress):
    model = compress(SmallConvNet(), {"fc.weight": encodings.palette((10, 8), 3)})
    with pytest.raises(ExportError) as caught:
        convert(model, IMAGE, minimum_deployment_target="iOS16")
    assert str(caught.value) == (
        "fc.weight: 3-bit palette needs iOS18, but minimum_deployment_target is iOS16; raise the target or use n_bits 4"
    )


@pytest.mark.parametrize(
    ("model", "inputs", "options", "message"),
    [
        (len, IMAGE, {}, "expected a torch.nn.Module, not builtin_function_or_method"),
        (
            SmallConvNet(),
            3,
            {},
            "example_inputs must be a tensor, a tuple or list of tensors, or a dict of tensors, not int",
        ),
        (SmallConvNet(), {"picture": IMAGE}, {}, "example_inputs names 'picture', but forward takes image"),
        (SmallConvNet(), {"image": 1}, {}, "example_inputs['image'] must be a tensor, not int"),
        (
            SmallConvNet(),
            IMAGE,
            {"convert_to": "neuralnetwork"},
            "convert_to='neuralnetwork' cannot hold compressed weights; leave it out",
        ),
    ],
)
def test_what_cannot_be_converted_is_refused(model, inputs, options, message):
    with pytest.raises(ExportError) as caught:
        convert(model, inputs, **options)
    assert str(caught.value) == message


class BagOfWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(10, 4)

    def forward(self, ids):
        return self.bag(ids)


def test_a_module_that_the_converter_does_not_know_is_an_export_error():
    with pytest.raises(ExportError) as caught:
        convert(BagOfWords(), torch.tensor([[1, 2, 3]]))
    assert str(caught.value) == (
        "the converter of coremltools cannot convert the model: "
        "PyTorch convert function for op 'embedding_bag' not implemented."
    )
    assert isinstance(caught.value.__cause__, NotImplementedError)


def test_a_traced_model_is_refused():
    traced = torch.jit.trace(SmallConvNet().eval(), IMAGE)
    with pytest.raises(ExportError) as caught:
        convert(traced, IMAGE)
    assert str(caught.value) == (
        "a traced or scripted model no longer says which weight is which; give the nn.Module itself"
    )


def test_the_random_state_is_not_touched(convnet):
    torch.manual_seed(1)
    expected = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    convert(convnet, IMAGE)
    assert torch.equal(torch.get_rng_state(), expected)
    assert np.array_equal(np.random.get_state()[1], numpy_state)


def test_nothing_of_the_markers_is_left_in_the_package(tagger, tmp_path):
    mlmodel = convert(tagger, IDS)
    constants = [op for op in mlmodel._mil_program.functions["main"].operations if op.op_type == "const"]
    unread = [op.name for op in constants if not (op.outputs[0].child_ops or op.outputs[0].consuming_blocks)]
    assert unread == []
    mlmodel.save(str(tmp_path / "tagger.mlpackage"))
    (weights,) = tmp_path.rglob("weight.bin")
    # Each array in the file begins at a multiple of 64 bytes, after a header of 64.
    assert weights.stat().st_size <= inspect(mlmodel).nbytes + 64 + 128 * len(constants)


@pytest.mark.parametrize("name", ["größe", "é_x", "日本", "a b", "a-b"])
def test_modules_of_any_name_are_exported_and_named_in_rules(name):
    network = Named(nn.Linear(48, 48), name)
    inputs = torch.ones(1, 48)
    package = convert(Pipeline([Stage("rtn")]).compress(network), inputs)
    assert [row.result for row in verify(package, Pipeline([Stage("rtn")]).compress(network), inputs).weights] == [
        "equal"
    ]
    stage = Stage("kmeans", {"module_name_configs": {name: {"n_bits": 4}}})
    assert len(Pipeline([stage]).plan(convert(network, inputs)).done) == 1


class Named(nn.Module):
    def __init__(self, layer, name):
        super().__init__()
        self.add_module(name, layer)
        self.called = name

    def forward(self, x):
        return self.get_submodule(self.called)(x)
