"""Which chains leave corepress: those that coremltools writes for the same target, whose packages run on devices."""

from pathlib import Path

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import pytest
from tests.core.coreml import programs

from corepress.coreml import KNOWN_CHAINS, CoreMLTarget, DeploymentTarget
from corepress.coreml._coremltools import mb, types, undisturbed
from corepress.coreml.program import load_program
from corepress.coreml.read import program_weights
from corepress.coreml.storage.builder import OpBuilder
from corepress.coreml.storage.chains import chain_types, is_known, scales_floats
from corepress.coreml.storage.lowering import lower
from corepress.errors import ExportError

DOCS = Path(__file__).parents[4] / "docs" / "devices.md"


def _palettize(**options):
    config = cto.OpPalettizerConfig(mode="kmeans", nbits=4, weight_threshold=1, **options)
    return cto.palettize_weights, config


def _quantize(**options):
    return cto.linear_quantize_weights, cto.OpLinearQuantizerConfig(weight_threshold=1, **options)


def _prune():
    return cto.prune_weights, cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=1)


PER_TENSOR = {"granularity": "per_tensor"}
REFERENCE = {
    "convert": [],
    "palettize_weights": [_palettize()],
    "linear_quantize_weights": [_quantize()],
    "prune_weights": [_prune()],
    "palettize_weights, then linear_quantize_weights": [_palettize(), _quantize(**PER_TENSOR)],
    "linear_quantize_weights, then palettize_weights": [_quantize(**PER_TENSOR), _palettize()],
    "prune_weights, then palettize_weights": [_prune(), _palettize()],
    "prune_weights, then linear_quantize_weights": [_prune(), _quantize()],
    "prune_weights, then palettize_weights, then linear_quantize_weights": [
        _prune(),
        _palettize(),
        _quantize(**PER_TENSOR),
    ],
}


def _program(target):
    matrix = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float16)

    @mb.program(input_specs=[mb.TensorSpec((1, 64), dtype=types.fp16)], opset_version=programs.opset(target))
    def program(x):
        return mb.linear(x=x, weight=mb.const(val=matrix, name="matrix"))

    return programs.package(program, target)


def _matrix_of(model):
    (weight,) = (weight for weight in program_weights(load_program(model)) if weight.shape == (16, 64))
    return weight


def _by_reference(target, functions):
    model = _program(target)
    with undisturbed():
        for number, (function, config) in enumerate(functions):
            config = cto.OptimizationConfig(global_config=config)
            model = function(model, config, joint_compression=number > 0)
    return model


@pytest.mark.parametrize(
    ("chain", "target"),
    [(chain, target) for chain in KNOWN_CHAINS for target in DeploymentTarget if chain.first <= target <= chain.last],
    ids=lambda value: " > ".join(value.ops) if hasattr(value, "ops") else str(value),
)
def test_coremltools_writes_every_known_chain_for_the_same_targets(chain, target):
    found = _by_reference(target.name, REFERENCE[chain.reference])
    # It raises older programs to iOS16, as corepress does.
    assert chain_types(_matrix_of(found).var) == chain.ops


def test_coremltools_writes_a_chain_with_per_channel_scales_that_is_not_known():
    found = _by_reference("iOS18", [_palettize(enable_per_channel_scale=True)])
    chain = chain_types(_matrix_of(found).var)
    assert chain == ("constexpr_blockwise_shift_scale of floats", "constexpr_lut_to_dense")
    assert scales_floats(chain)
    assert not any(is_known(chain, target) for target in DeploymentTarget)


def test_a_program_that_holds_a_refused_chain_is_warned_about():
    target = CoreMLTarget(_by_reference("iOS18", [_palettize(enable_per_channel_scale=True)]))
    (remark,) = target.remarks
    assert remark.startswith(
        "matrix_palettized_pcs: stored as constexpr_blockwise_shift_scale of floats > constexpr_lut_to_dense, "
        "which the Neural Engine refuses to load since macOS 26; "
    )
    assert "corepress.coreml.decompress" in remark


def test_every_built_in_form_is_stored_in_a_known_chain(every_form, in_program):
    for form, encoding in every_form.items():
        for target in (DeploymentTarget.iOS18, DeploymentTarget.iOS26):
            (weight,) = program_weights(in_program(encoding, target))
            assert is_known(chain_types(weight.var), target), (form, target)


class ScaledAfterwards:
    """An encoding of a plugin that scales looked-up floating-point values."""

    kind = "scaled afterwards"
    shape = (8, 12)

    def __init__(self, palette):
        self.palette = palette

    def lower_coreml(self, ops):
        looked_up = lower(self.palette, ops)
        return ops.add("constexpr_blockwise_shift_scale", "scaled", data=looked_up, scale=np.ones((8, 1), ops.dtype))


@pytest.mark.parametrize("allowed", [False, True])
def test_another_chain_of_a_plugin_is_refused_by_default(encodings, allowed):
    encoding = ScaledAfterwards(encodings.palette((8, 12), 4))

    @mb.program(input_specs=[mb.TensorSpec((1,), dtype=types.fp16)], opset_version=ct.target.iOS18)
    def program(x):
        ops = OpBuilder("w.weight", "w", np.float16, DeploymentTarget.iOS18, allow_unknown_chains=allowed)
        if allowed:
            return mb.add(x=x, y=lower(encoding, ops))
        message = (
            r"^w\.weight: it would be stored as constexpr_lut_to_dense > constexpr_blockwise_shift_scale of floats, "
            r"which no device is known to load for iOS18; .* or pass allow_unknown_chains=True$"
        )
        with pytest.raises(ExportError, match=message):
            lower(encoding, ops)
        return mb.add(x=x, y=np.float16(0))


def test_the_documentation_holds_the_table_of_known_chains():
    rows = [
        f"| {' > '.join(ops.removeprefix('constexpr_') for ops in chain.ops)} "
        f"| {chain.first}{'' if chain.first == chain.last else f' to {chain.last}'} "
        f"| {chain.holds} | {chain.reference} |"
        for chain in KNOWN_CHAINS
    ]
    table = "\n".join(["| chain | targets | holds | written by Core ML Tools in |", "|---|---|---|---|", *rows])
    assert table in DOCS.read_text(encoding="utf-8")
