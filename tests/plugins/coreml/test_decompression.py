import numpy as np
import pytest
from tests.plugins.coreml import programs

from corepress.coreml import run
from corepress_plugins.coreml import (
    OpLinearQuantizerConfig,
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    decompress_weights,
    linear_quantize_weights,
    palettize_weights,
    prune_weights,
)

QUANTIZED = (linear_quantize_weights, OpLinearQuantizerConfig(mode="linear"))
PALETTIZED = (palettize_weights, OpPalettizerConfig(nbits=4, mode="uniform"))
PRUNED = (prune_weights, OpMagnitudePrunerConfig(target_sparsity=0.5))


@pytest.mark.parametrize(
    ("target", "steps"),
    [
        ("iOS16", [QUANTIZED]),
        ("iOS16", [PALETTIZED]),
        ("iOS16", [PRUNED]),
        ("iOS18", [QUANTIZED]),
        ("iOS18", [PRUNED, QUANTIZED]),
        ("iOS18", [PRUNED, PALETTIZED, QUANTIZED]),
    ],
)
def test_weights_become_constants_of_the_same_values(target, steps, stored, tmp_path):
    model = programs.chain(target)
    for function, config in steps:
        model = function(model, OptimizationConfig(config), joint_compression=target == "iOS18")
    model.save(str(tmp_path / "small.mlpackage"))
    plain = decompress_weights(tmp_path / "small.mlpackage")

    before, after = stored(model), stored(plain)
    assert list(after) == list(before)
    assert {weight.ops for weight in after.values()} == {("const",)}
    assert {weight.dtype for weight in after.values()} == {"fp16"}
    assert all(np.array_equal(weight.value, before[name].value) for name, weight in after.items())

    x = {"x": programs.values(1, 30, 10, 10)}
    (wanted,), (got,) = run(model, x).values(), run(plain, x).values()
    assert np.array_equal(got, wanted)


def test_a_program_without_compressed_weights_stays_as_it_is(structure):
    model = programs.chain("iOS18")
    assert structure(decompress_weights(model)) == structure(model)
