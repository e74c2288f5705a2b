import numpy as np
import pytest
from tests.plugins.coreml import programs

from corepress.errors import ExportError
from corepress_plugins.coreml import (
    CoreMLOpMetaData,
    CoreMLWeightMetaData,
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    get_weights_metadata,
    palettize_weights,
    prune_weights,
)


def test_zeros_and_distinct_values_are_counted():
    metadata = CoreMLWeightMetaData(np.array([[1.0, 0.0], [0.0, 6.0]], dtype=np.float32))
    assert (metadata.sparsity, metadata.unique_values, metadata.child_ops) == (0.5, 3, None)
    assert str(metadata) == (
        "[\n  val: np.ndarray(shape=(2, 2), dtype=float32)\n  sparsity: 0.5\n  unique_values: 3\n]"
    )


def test_a_shared_weight_has_all_its_readers():
    found = get_weights_metadata(programs.shared(), weight_threshold=10)
    assert list(found) == ["w_1"]
    assert found["w_1"].child_ops[:2] == [
        CoreMLOpMetaData("add", "add_1", {"y": "w_1"}),
        CoreMLOpMetaData("add", "add_2", {"y": "w_1"}),
    ]
    assert "    add(name=add_1, y=w_1, ...)\n" in str(found)


@pytest.mark.parametrize(("threshold", "names"), [(4096, ["a", "b"]), (4097, ["b"]), (8193, [])])
def test_the_threshold_itself_is_included(threshold, names):
    model = programs.additions(a=programs.values(1, 4096), b=programs.values(2, 4096))
    assert list(get_weights_metadata(model, weight_threshold=threshold)) == names


def test_weights_are_found_by_what_they_are(tmp_path):
    sparse, few = programs.values(64, 64), programs.values(64, 64).round()
    sparse.flat[: 64 * 40] = 0
    model = programs.additions(sparse=sparse, few=few, plain=programs.values(64, 64))
    model.save(str(tmp_path / "model.mlpackage"))
    found = get_weights_metadata(tmp_path / "model.mlpackage")
    assert [name for name, metadata in found.items() if metadata.sparsity >= 0.5] == ["sparse"]
    assert [name for name, metadata in found.items() if metadata.unique_values <= 16] == ["few"]
    assert np.array_equal(found["sparse"].val, sparse)
    assert found["sparse"].val.dtype == np.float16


def test_a_compressed_weight_is_one_weight_of_decoded_values():
    model = programs.chain("iOS18")
    pruned = prune_weights(model, OptimizationConfig(OpMagnitudePrunerConfig(target_sparsity=0.75)))
    small = palettize_weights(pruned, OptimizationConfig(OpPalettizerConfig(nbits=2)), joint_compression=True)
    dense, found = get_weights_metadata(model), get_weights_metadata(small)
    assert list(found) == list(dense) == ["conv_w", "linear_w", "matmul_w", "up_w"]
    assert [metadata.child_ops for metadata in found.values()] == [metadata.child_ops for metadata in dense.values()]
    assert {metadata.val.dtype for metadata in found.values()} == {np.dtype(np.float16)}
    assert all(metadata.sparsity == pytest.approx(0.75, abs=1e-3) for metadata in found.values())
    assert {metadata.unique_values for metadata in found.values()} == {5}


def test_what_is_no_program_is_refused():
    with pytest.raises(ExportError, match="expected an MLModel or the path"):
        get_weights_metadata(None)
