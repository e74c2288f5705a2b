import pytest
from tests.plugins.coreml import programs

from corepress.coreml import read_weights
from corepress.errors import PlanError, PlanWarning
from corepress_plugins.coreml import (
    OpLinearQuantizerConfig,
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    linear_quantize_weights,
    palettize_weights,
    prune_weights,
)

pytestmark = pytest.mark.filterwarnings("ignore::corepress.errors.PlanWarning")

FUNCTIONS = {
    OpPalettizerConfig: palettize_weights,
    OpLinearQuantizerConfig: linear_quantize_weights,
    OpMagnitudePrunerConfig: prune_weights,
}
PRUNE = OpMagnitudePrunerConfig(target_sparsity=0.8)
PALETTIZE = OpPalettizerConfig(nbits=4, mode="uniform")
VECTORS = OpPalettizerConfig(nbits=2, cluster_dim=2)
SCALED = OpPalettizerConfig(nbits=4, enable_per_channel_scale=True)
QUANTIZE = OpLinearQuantizerConfig()
INT4 = OpLinearQuantizerConfig(dtype="int4")
TENSOR = OpLinearQuantizerConfig(granularity="per_tensor")

SPARSE_AFFINE = "sparse_blockwise_shift_scale sparse_to_dense"
SPARSE_PALETTE = "lut_to_sparse sparse_to_dense"
AFFINE_PALETTE = "blockwise_shift_scale lut_to_dense"
ALL_THREE = "blockwise_shift_scale lut_to_sparse sparse_to_dense"


@pytest.fixture(scope="module")
def model():
    return programs.linear(programs.values(64, 64))


def in_turn(model, *configs, joint_compression=True):
    for config in configs:
        model = FUNCTIONS[type(config)](model, OptimizationConfig(config), joint_compression=joint_compression)
    return model


@pytest.mark.parametrize(
    ("configs", "chain"),
    [
        ((PRUNE,), "sparse_to_dense"),
        ((PRUNE, QUANTIZE), SPARSE_AFFINE),
        ((PRUNE, OpLinearQuantizerConfig(mode="linear", dtype="uint8")), SPARSE_AFFINE),
        ((PRUNE, OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=[0, 32])), SPARSE_AFFINE),
        ((QUANTIZE, PRUNE), SPARSE_AFFINE),
        ((PRUNE, PALETTIZE), SPARSE_PALETTE),
        ((PALETTIZE, PRUNE), SPARSE_PALETTE),
        ((PALETTIZE, TENSOR), AFFINE_PALETTE),
        ((TENSOR, PALETTIZE), AFFINE_PALETTE),
        ((PRUNE, PALETTIZE, TENSOR), ALL_THREE),
        ((PALETTIZE, PRUNE, TENSOR), ALL_THREE),
    ],
)
def test_chains_of_two_and_three_kinds(model, ops, configs, chain):
    assert ops(in_turn(model, *configs)) == {"w": chain}


@pytest.mark.parametrize(
    ("configs", "chain"),
    [
        ((OpPalettizerConfig(nbits=2, mode="uniform"), TENSOR), AFFINE_PALETTE),
        ((PALETTIZE, QUANTIZE), AFFINE_PALETTE),
        ((INT4, PALETTIZE), AFFINE_PALETTE),
        ((PRUNE, QUANTIZE, PALETTIZE), ALL_THREE),
        ((QUANTIZE, PRUNE, PALETTIZE), ALL_THREE),
        ((PALETTIZE, TENSOR, PRUNE), ALL_THREE),
        ((QUANTIZE, PALETTIZE, PRUNE), ALL_THREE),
        ((PRUNE, QUANTIZE, PRUNE), SPARSE_AFFINE),
        ((TENSOR, VECTORS), AFFINE_PALETTE),
    ],
)
def test_what_the_reference_leaves_out_or_breaks_on_works(model, ops, configs, chain):
    assert ops(in_turn(model, *configs)) == {"w": chain}


@pytest.mark.parametrize("configs", [(SCALED, TENSOR), (PRUNE, SCALED), (SCALED, PRUNE), (VECTORS, TENSOR)])
def test_scales_and_vectors_compose_too(model, stored, configs):
    compressed = stored(in_turn(model, *configs))["w"]
    assert {config.algorithm for config in configs} <= {"kmeans", "rtn", "magnitude"}
    assert bool(compressed.value.isfinite().all())
    assert float((compressed.value == 0).float().mean()) >= (0.79 if PRUNE in configs else 0)


def test_the_order_does_not_matter_for_tables_of_integers(model, stored):
    one, other = (stored(in_turn(model, *order))["w"] for order in ((PALETTIZE, TENSOR), (TENSOR, PALETTIZE)))
    assert one.encoding.form == other.encoding.form


@pytest.mark.parametrize(
    "configs", [(PRUNE, VECTORS), (QUANTIZE, VECTORS), (PALETTIZE, PALETTIZE), (QUANTIZE, QUANTIZE)]
)
def test_what_cannot_be_combined_is_refused_by_the_name_of_the_weight(model, configs):
    first = in_turn(model, configs[0])
    config = OptimizationConfig().set_op_name("w", configs[1])
    with pytest.raises(PlanError, match=r"^w: "):
        FUNCTIONS[type(configs[1])](first, config, joint_compression=True)


@pytest.mark.parametrize("configs", [(PRUNE, QUANTIZE), (PRUNE, PALETTIZE), (PALETTIZE, TENSOR)])
def test_joint_compression_needs_ios18_and_is_left_out_of_older_programs(configs):
    first = in_turn(programs.linear(programs.values(64, 64), "iOS16"), configs[0])
    with pytest.raises(PlanError, match="iOS18"):
        in_turn(first, configs[1], joint_compression=True)
    with pytest.warns(PlanWarning, match="^compressed already, and left alone: "):
        second = in_turn(first, configs[1], joint_compression=False)
    before, after = ([weight.encoding for weight in read_weights(each)] for each in (first, second))
    assert before == after


@pytest.mark.parametrize("configs", [(PRUNE, QUANTIZE), (PRUNE, PALETTIZE), (PALETTIZE, TENSOR), (QUANTIZE, PRUNE)])
def test_compressed_weights_are_left_alone_without_the_flag_unless_named(model, ops, configs):
    first = in_turn(model, configs[0])
    with pytest.warns(PlanWarning, match="^compressed already, and left alone: "):
        assert ops(in_turn(first, configs[1], joint_compression=False)) == ops(first)
    named = OptimizationConfig().set_op_name("w", configs[1])
    assert ops(FUNCTIONS[type(configs[1])](first, named)) == ops(in_turn(first, configs[1]))


def test_what_is_palettized_already_is_left_alone_or_refused_with_the_flag():
    model = programs.additions(a=programs.values(64, 64), b=programs.values(64, 64))
    first = palettize_weights(model, OptimizationConfig().set_op_name("a", PALETTIZE))
    with pytest.warns(PlanWarning, match="^compressed already, and left alone: a$"):
        second = palettize_weights(first, OptimizationConfig(PALETTIZE))
    encodings = {weight.name: weight.encoding for weight in read_weights(second)}
    assert encodings["a"] == next(w.encoding for w in read_weights(first) if w.name == "a")
    assert encodings["b"].kind == "palettized"
    for config in (OptimizationConfig(PALETTIZE), OptimizationConfig().set_op_name("a", PALETTIZE)):
        with pytest.raises(PlanError, match=r"^a: stage 1 \(uniform\) cannot work: it is palettized already"):
            palettize_weights(first, config, joint_compression=True)


def test_a_weight_that_grows_is_told():
    model = programs.additions(w=programs.values(64, 64))
    with pytest.warns(PlanWarning, match=r"^larger than before: w: \d+ bytes, 8192 when dense$"):
        prune_weights(model, OptimizationConfig(OpMagnitudePrunerConfig(target_sparsity=0.0)))


def test_dense_weights_are_compressed_with_joint_compression_too(model, ops):
    for config in (PRUNE, PALETTIZE, QUANTIZE):
        assert ops(in_turn(model, config)) == ops(in_turn(model, config, joint_compression=False))
