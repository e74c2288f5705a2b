"""Models of every kind: what they are stays, and what cannot be compressed is refused."""

import coremltools as ct
import pytest
import torch
from coremltools.models.neural_network import NeuralNetworkBuilder
from tests.networks.small import SmallNet
from tests.plugins.coreml import programs

from corepress.coreml import read_weights
from corepress.errors import ExportError
from corepress_plugins.coreml import (
    OpLinearQuantizerConfig,
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    decompress_weights,
    get_weights_metadata,
    linear_quantize_weights,
    palettize_weights,
    prune_weights,
)

FUNCTIONS = {
    "palettize": lambda model: palettize_weights(model, OptimizationConfig(OpPalettizerConfig(nbits=2))),
    "quantize": lambda model: linear_quantize_weights(model, OptimizationConfig(OpLinearQuantizerConfig())),
    "prune": lambda model: prune_weights(model, OptimizationConfig(OpMagnitudePrunerConfig(target_sparsity=0.5))),
    "decompress": decompress_weights,
    "metadata": get_weights_metadata,
}
COMPRESSING = [FUNCTIONS[name] for name in ("palettize", "quantize", "prune")]


@pytest.fixture(scope="module")
def several_functions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    programs.layers_in_a_row().save(str(folder / "one.mlpackage"))
    description = ct.utils.MultiFunctionDescriptor()
    for name in ("first", "second"):
        description.add_function(str(folder / "one.mlpackage"), src_function_name="main", target_function_name=name)
    description.default_function_name = "first"
    ct.utils.save_multifunction(description, str(folder / "both.mlpackage"))
    return folder / "both.mlpackage"


@pytest.mark.parametrize("function", COMPRESSING, ids=["palettize", "quantize", "prune"])
def test_what_several_functions_share_is_compressed_once_and_decompressed_again(several_functions, function):
    small = function(several_functions)
    compressed = [weight for weight in read_weights(small) if weight.compressed]
    assert compressed
    assert len({weight.name for weight in compressed}) == len(compressed)
    dense = decompress_weights(small)
    for before, after in zip(compressed, (w for w in read_weights(dense) if len(w.shape) > 1), strict=False):
        assert not after.compressed
        assert torch.equal(before.value, after.value)


def test_metadata_of_what_several_functions_share_are_those_of_one(several_functions):
    # The three convolutions are equal, and one since the functions were joined.
    assert list(get_weights_metadata(several_functions)) == ["conv1_w", "fc_w"]


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_what_is_no_program_is_refused(function):
    inputs, outputs = [("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(3))]
    builder = NeuralNetworkBuilder(inputs, outputs)
    builder.add_activation("relu", "RELU", "x", "y")
    with pytest.raises(ExportError, match="the model is of type neuralNetwork, not an ML program"):
        function(ct.models.MLModel(builder.spec, skip_model_load=True))


@pytest.mark.parametrize("function", COMPRESSING, ids=["palettize", "quantize", "prune"])
def test_a_classifier_stays_one(function, structure):
    traced = torch.jit.trace(SmallNet().eval(), torch.rand(1, 3, 16, 16))
    model = ct.convert(
        traced,
        inputs=[ct.TensorType("x", shape=(1, 3, 16, 16))],
        classifier_config=ct.ClassifierConfig([f"class {i}" for i in range(10)]),
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )
    before, after = (
        [op[0] for op in structure(m)[2] if op[0] != "const" and not op[0].startswith("constexpr_")]
        for m in (model, function(model))
    )
    assert after == before
    assert before[-1] == "classify"


@pytest.mark.parametrize("function", COMPRESSING, ids=["palettize", "quantize", "prune"])
def test_a_program_for_ios15_is_raised_to_ios16(function):
    traced = torch.jit.trace(SmallNet().eval(), torch.rand(1, 3, 16, 16))
    model = ct.convert(
        traced,
        inputs=[ct.TensorType("x", shape=(1, 3, 16, 16))],
        minimum_deployment_target=ct.target.iOS15,
        skip_model_load=True,
    )
    with pytest.warns(UserWarning, match="the program is for iOS15; what is made of it needs iOS16"):
        assert function(model).get_spec().specificationVersion == ct.target.iOS16
