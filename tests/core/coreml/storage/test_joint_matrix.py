"""Every order of sparsity, palette and quantization, in every granularity, on every target: exact, or refused."""

import itertools

import numpy as np
import pytest
from tests.core.coreml import programs

from corepress import Pipeline, Stage
from corepress.coreml import DeploymentTarget, read_weights, run
from corepress.coreml._coremltools import mb, types
from corepress.coreml.storage.chains import chain_types, is_known
from corepress.errors import PlanError

SPARSITY = {
    "half": ("magnitude", {"target_sparsity": 0.5}),
    "2:4": ("magnitude", {"n_m_ratio": (2, 4)}),
}
PALETTES = {
    "palette": ("kmeans", {"n_bits": 4}),
    "palette of 3 bits": ("kmeans", {"n_bits": 3}),
    "grouped palette": ("kmeans", {"n_bits": 2, "granularity": "per_grouped_channel", "group_size": 4}),
    "grouped palette, inputs": (
        "kmeans",
        {"n_bits": 2, "granularity": "per_grouped_channel", "group_size": 4, "channel_axis": 1},
    ),
    "vector palette": ("kmeans", {"n_bits": 4, "cluster_dim": 2}),
    "scaled palette": ("kmeans", {"n_bits": 4, "enable_per_channel_scale": True}),
    "int8 palette": ("kmeans", {"n_bits": 4, "lut_dtype": "int8"}),
}
AFFINE = {
    "int8": ("rtn", {"weight_dtype": "int8", "granularity": "per_tensor"}),
    "int8 per channel": ("rtn", {"weight_dtype": "int8", "granularity": "per_channel"}),
    "uint8 affine": ("rtn", {"weight_dtype": "uint8", "quantization_scheme": "affine"}),
    "int4 in blocks": ("rtn", {"weight_dtype": "int4", "granularity": "per_block", "block_size": 4}),
}
KINDS = (SPARSITY, PALETTES, AFFINE)
STAGES = {name: stage for kind in KINDS for name, stage in kind.items()}
TARGETS = ("iOS16", "iOS17", "iOS18", "iOS26")


OF_THREE = {
    "half",
    "palette",
    "grouped palette",
    "vector palette",
    "scaled palette",
    "int8 per channel",
    "int4 in blocks",
}


def orders():
    """Return every sequence of stages of different kinds; sequences of three are made of fewer variants."""
    for count in (1, 2, 3):
        for kinds in itertools.permutations(KINDS, count):
            choices = [[name for name in kind if count < 3 or name in OF_THREE] for kind in kinds]
            yield from itertools.product(*choices)


def is_legal(order, target):
    """Tell what the table of compositions and the operations of a target allow."""
    if target in ("iOS16", "iOS17"):
        alone = {*SPARSITY, "palette", "int8", "int8 per channel", "uint8 affine"}
        return len(order) == 1 and order[0] in alone
    place = {name: order.index(name) for name in order}
    palette = next((name for name in order if name in PALETTES), None)
    affine = next((name for name in order if name in AFFINE), None)
    sparse = next((name for name in order if name in SPARSITY), None)
    if palette == "vector palette" and sparse:
        return False
    if palette and affine and place[palette] < place[affine]:
        return palette != "int8 palette"
    if palette and affine:
        # A palette of integers: it has neither a scale nor a table of its own, and vectors need one scale for all.
        if palette in ("scaled palette", "int8 palette"):
            return palette == "int8 palette"
        return palette != "vector palette" or affine == "int8"
    return True


@pytest.fixture(scope="module", params=TARGETS)
def dense(request):
    return request.param, _program(request.param)


def _program(target, values=None):
    """Return a package of two layers with the given constants, or with random ones."""
    constants = values or _random()
    kernel, matrix = (constants[name].astype(np.float16) for name in ("kernel", "matrix"))

    @mb.program(input_specs=[mb.TensorSpec((1, 4, 6, 6), dtype=types.fp16)], opset_version=programs.opset(target))
    def program(x):
        x = mb.conv(x=x, weight=mb.const(val=kernel, name="kernel"))
        return mb.linear(x=mb.reshape(x=x, shape=[1, 128]), weight=mb.const(val=matrix, name="matrix"), name="y")

    return programs.package(program, target)


def _random():
    rng = np.random.default_rng(3)
    kernel, matrix = rng.standard_normal((8, 4, 3, 3)), rng.standard_normal((8, 128))
    # Channels of very different sizes, small weights with one channel of dust and one of zeros.
    kernel *= 2.0 ** np.arange(-6, 2)[:, None, None, None]
    matrix *= 2e-3
    matrix[3] = 0
    matrix[5] *= 1e-3
    return {"kernel": kernel, "matrix": matrix}


def _compress(model, order):
    return Pipeline([Stage(name, {"global_config": dict(config)}) for name, config in map(STAGES.get, order)]).compress(
        model
    )


def _values(model):
    return {weight.name: weight.value.numpy() for weight in read_weights(model) if len(weight.shape) > 1}


@pytest.mark.filterwarnings("ignore::corepress.errors.PlanWarning")
@pytest.mark.parametrize("order", list(orders()), ids=" > ".join)
def test_every_order_is_exact_or_refused_before_any_work(dense, order, tmp_path):
    target, model = dense
    if not is_legal(order, target):
        with pytest.raises(PlanError, match=r"^(2 weights \()?(kernel|matrix)[:,]"):
            _compress(model, order)
        return
    small = _compress(model, order)
    values = _values(small)
    small.save(str(tmp_path / "small.mlpackage"))
    again = {weight.name: weight for weight in read_weights(tmp_path / "small.mlpackage")}
    for weight in read_weights(small):
        assert weight.encoding == again[weight.name].encoding
        assert is_known(chain_types(weight.var), DeploymentTarget[target])
    if any(name in SPARSITY for name in order):
        assert all((value == 0).mean() >= 0.5 for value in values.values())

    separate = model
    for stage in order:
        separate = _compress(separate, (stage,))
    for name, value in _values(separate).items():
        assert np.array_equal(value, values[name])

    x = {"x": np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(np.float16)}
    (found,) = run(small, x).values()
    (wanted,) = run(_program(target, values), x).values()
    assert np.array_equal(found, wanted)
