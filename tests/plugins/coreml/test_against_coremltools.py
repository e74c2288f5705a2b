"""Side by side with coremltools: the same configuration gives the same operations, types and values."""

import coremltools.optimize.coreml as reference
import numpy as np
import pytest
from coremltools.converters.mil.mil import types
from tests.networks.small import SmallNet

import corepress.coreml
import corepress_plugins.coreml as ours

pytestmark = pytest.mark.filterwarnings("ignore::corepress.errors.PlanWarning")


@pytest.fixture(scope="module", params=["iOS16", "iOS18"])
def model(request):
    import torch

    torch.manual_seed(0)
    return corepress.coreml.convert(
        SmallNet().eval(), torch.rand(1, 3, 16, 16), minimum_deployment_target=request.param
    )


def both(model, function, config_class, **options):
    """Return what the reference and what we make of a model, by the same names."""
    results = []
    for library in (reference, ours):
        config = library.OptimizationConfig(getattr(library, config_class)(weight_threshold=100, **options))
        results.append(getattr(library, function)(model, config))
    return [weights(result) for result in results]


def weights(model):
    return {
        weight.consumers[0].op_name: weight for weight in corepress.coreml.read_weights(model) if len(weight.shape) > 1
    }


def kinds(weight):
    """Return the operations of a weight with the types of everything that they store."""
    op = weight.var.op
    return weight.ops, weight.dtype, {
        key: types.builtin_to_string(var.dtype) for key, var in op.inputs.items() if var.op.op_type == "const"
    }  # fmt: skip


def distance(weight, other):
    return float((weight.value - other.value).norm())


QUANTIZED = [
    {},
    {"mode": "linear"},
    {"dtype": "uint8"},
    {"granularity": "per_tensor"},
    {"mode": "linear", "dtype": np.uint8},
]


@pytest.mark.parametrize("options", QUANTIZED)
def test_quantized_weights(model, options):
    theirs, mine = both(model, "linear_quantize_weights", "OpLinearQuantizerConfig", **options)
    assert {name: kinds(weight) for name, weight in mine.items()} == {
        name: kinds(weight) for name, weight in theirs.items()
    }
    original = weights(model)
    for name, weight in mine.items():
        # The reference computes in float16, and lands beside the nearest integer now and then.
        step = float(weight.encoding.scale.max())
        assert float((weight.value - theirs[name].value).abs().max()) <= 1.1 * step
        assert distance(weight, original[name]) <= 1.02 * distance(theirs[name], original[name])
        assert weight.encoding.scale.shape == theirs[name].encoding.scale.shape


@pytest.mark.parametrize("options", [{"nbits": 4, "mode": "uniform"}, {"nbits": 1, "mode": "uniform"}, {"nbits": 2}])
def test_palettized_weights(model, options):
    theirs, mine = both(model, "palettize_weights", "OpPalettizerConfig", **options)
    original = weights(model)
    assert {name: kinds(weight) for name, weight in mine.items()} == {
        name: kinds(weight) for name, weight in theirs.items()
    }
    for name, weight in mine.items():
        assert distance(weight, original[name]) <= 1.02 * distance(theirs[name], original[name])


@pytest.mark.parametrize("options", [{"target_sparsity": 0.5}, {"target_sparsity": 0.9}])
def test_pruned_weights(model, options):
    theirs, mine = both(model, "prune_weights", "OpMagnitudePrunerConfig", **options)
    assert {name: kinds(weight) for name, weight in mine.items()} == {
        name: kinds(weight) for name, weight in theirs.items()
    }
    for name, weight in mine.items():
        # The reference rounds the number of zeros its own way, and lets ties fall.
        assert int((weight.value != theirs[name].value).sum()) <= 1 + weight.value.numel() // 1000


def test_pruned_by_threshold(model):
    theirs, mine = both(
        model, "prune_weights", "OpThresholdPrunerConfig", threshold=0.05, minimum_sparsity_percentile=0.4
    )
    for name, weight in mine.items():
        assert weight.ops == theirs[name].ops
        assert bool((weight.value == theirs[name].value).all())


def test_metadata(model):
    theirs, mine = (library.get_weights_metadata(model, weight_threshold=200) for library in (reference, ours))
    assert list(mine) == [name for name, metadata in theirs.items() if metadata.val.dtype.kind == "f"]
    for name, metadata in mine.items():
        assert np.array_equal(metadata.val, theirs[name].val)
        assert metadata.val.dtype == theirs[name].val.dtype
        assert (metadata.sparsity, metadata.unique_values) == (theirs[name].sparsity, theirs[name].unique_values)
        for one, other in zip(metadata.child_ops, theirs[name].child_ops, strict=True):
            assert (one.op_type, one.name) == (other.op_type, other.name)
            assert one.params_name_mapping == other.params_name_mapping


def test_a_weight_is_configured_by_the_name_in_its_metadata(model):
    for name in ours.get_weights_metadata(model):
        config = ours.OptimizationConfig().set_op_name(name, ours.OpPalettizerConfig(mode="uniform", nbits=1))
        found = ours.get_weights_metadata(ours.palettize_weights(model, config))
        assert [key for key, metadata in found.items() if metadata.unique_values == 2] == [name]
