"""Every operation that the converter can evaluate at compile time gives the same value here."""

import numpy as np
import pytest

from corepress.coreml._coremltools import mb

rng = np.random.default_rng(0)
X = rng.normal(size=(2, 3, 4)).astype(np.float32)
Y = rng.normal(size=(3, 4)).astype(np.float32)
POSITIVE = np.abs(X) + 0.1
UNIT = np.tanh(X)
FLAGS, OTHERS = X > 0, X > 0.5
INTEGERS = rng.integers(-9, 9, (2, 3, 4), dtype=np.int32)
COUNTS = rng.integers(1, 5, (3, 4), dtype=np.int32)
IMAGES = rng.normal(size=(2, 4, 6, 6)).astype(np.float32)
ROWS = np.array([2, 0, -1], np.int32)
CHANNELS = np.array([0.1, -0.5, 2.0], np.float32)

UNARY = {
    "abs": X,
    "acos": UNIT,
    "asin": UNIT,
    "atan": X,
    "atanh": UNIT,
    "ceil": X,
    "cos": X,
    "cosh": X,
    "erf": X,
    "exp": X,
    "exp2": X,
    "floor": X,
    "identity": X,
    "inverse": POSITIVE,
    "l2_norm": IMAGES,
    "log": POSITIVE,
    "logical_not": FLAGS,
    "relu": X,
    "relu6": 9 * X,
    "round": X,
    "rsqrt": POSITIVE,
    "sigmoid": X,
    "sign": X,
    "sin": X,
    "sinh": X,
    "softmax": X,
    "softplus": X,
    "softsign": X,
    "sqrt": POSITIVE,
    "square": X,
    "tan": X,
    "tanh": X,
}
ARITHMETIC = ("add", "floor_div", "maximum", "minimum", "mod", "mul", "real_div", "sub")
COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal", "not_equal")
BINARY = {
    **dict.fromkeys((*ARITHMETIC, *COMPARISONS), (X, Y)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), (FLAGS, OTHERS)),
    "pow": (POSITIVE, Y),
}
NORMS = ("l1_norm", "l2_norm", "log_sum", "log_sum_exp", "sum_square")
REDUCTIONS = [f"reduce_{name}" for name in (*NORMS, "max", "mean", "min", "prod", "sum")]

CASES = {
    "integer floor_div": (lambda x, y: mb.floor_div(x=x, y=y), {"x": INTEGERS, "y": COUNTS}),
    "integer mod": (lambda x, y: mb.mod(x=x, y=y), {"x": INTEGERS, "y": COUNTS}),
    "integer add": (lambda x, y: mb.add(x=x, y=y), {"x": INTEGERS, "y": COUNTS}),
    "argsort": (lambda x: mb.argsort(x=x, axis=1), {"x": X}),
    "argsort ascending": (lambda x: mb.argsort(x=x, axis=-1, ascending=True), {"x": X}),
    "band_part": (lambda x: mb.band_part(x=x, lower=1, upper=0), {"x": X}),
    "cast to int32": (lambda x: mb.cast(x=x, dtype="int32"), {"x": 9 * X}),
    "cast to bool": (lambda x: mb.cast(x=x, dtype="bool"), {"x": INTEGERS}),
    "clamped_relu": (lambda x: mb.clamped_relu(x=x, alpha=0.1, beta=0.5), {"x": X}),
    "clip": (lambda x: mb.clip(x=x, alpha=-0.1, beta=0.5), {"x": X}),
    "concat": (lambda x, y: mb.concat(values=[x, y], axis=1), {"x": X, "y": POSITIVE}),
    "cumsum": (lambda x: mb.cumsum(x=x, axis=1), {"x": X}),
    "cumsum reversed": (lambda x: mb.cumsum(x=x, axis=1, reverse=True), {"x": X}),
    "einsum": (
        lambda x, y: mb.einsum(values=[x, y], equation="nchw,nwhu->nchu"),
        {"x": IMAGES, "y": IMAGES.transpose(0, 3, 2, 1).copy()},
    ),
    "elu": (lambda x: mb.elu(x=x, alpha=0.3), {"x": X}),
    "expand_dims": (lambda x: mb.expand_dims(x=x, axes=[0, -1]), {"x": X}),
    "fill": (lambda x: mb.mul(x=mb.fill(shape=[3, 4], value=2.5), y=x), {"x": X}),
    "fill_like": (lambda x: mb.mul(x=mb.fill_like(ref_tensor=x, value=2.5), y=x), {"x": X}),
    "flatten2d": (lambda x: mb.flatten2d(x=x, axis=2), {"x": X}),
    "gather": (lambda x, i: mb.gather(x=x, indices=i, axis=1), {"x": X, "i": ROWS}),
    "gather of a row": (lambda x: mb.gather(x=x, indices=1, axis=1), {"x": X}),
    "gather in batches": (
        lambda x, i: mb.gather(x=x, indices=i, axis=2, batch_dims=1),
        {"x": X, "i": np.array([[3, 0], [1, 1]], np.int32)},
    ),
    "gather_along_axis": (lambda x, i: mb.gather_along_axis(x=x, indices=i, axis=2), {"x": X, "i": INTEGERS % 4}),
    "gelu": (lambda x: mb.gelu(x=x, mode="EXACT"), {"x": X}),
    "gelu with tanh": (lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"), {"x": X}),
    "gelu with sigmoid": (lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"), {"x": X}),
    "layer_norm": (lambda x: mb.layer_norm(x=x, axes=[-1], gamma=Y[0], beta=Y[1]), {"x": X}),
    "layer_norm of an inner axis": (lambda x: mb.layer_norm(x=x, axes=[1], gamma=CHANNELS), {"x": X}),
    "leaky_relu": (lambda x: mb.leaky_relu(x=x, alpha=0.3), {"x": X}),
    "linear": (lambda x: mb.linear(x=x, weight=Y, bias=CHANNELS), {"x": X}),
    "linear_activation": (lambda x: mb.linear_activation(x=x, alpha=0.3, beta=1.0), {"x": X}),
    "matmul": (lambda x, y: mb.matmul(x=x, y=y, transpose_y=True), {"x": X, "y": Y}),
    "matmul of a transpose": (lambda x, y: mb.matmul(x=x, y=y, transpose_x=True), {"x": X, "y": Y}),
    "non_zero": (lambda x: mb.non_zero(x=x), {"x": INTEGERS}),
    "pad": (lambda x: mb.pad(x=x, pad=[1, 2, 0, 3], constant_val=1.5), {"x": X}),
    "pad by reflection": (lambda x: mb.pad(x=x, pad=[1, 2, 3, 0], mode="reflect"), {"x": X}),
    "pad by replication": (lambda x: mb.pad(x=x, pad=[1, 2, 0, 3], mode="replicate"), {"x": X}),
    "prelu": (lambda x: mb.prelu(x=x, alpha=np.float32([0.1, -0.5, 2.0, 0.0])), {"x": IMAGES}),
    "quantize": (
        lambda x: mb.quantize(input=x, scale=0.02, zero_point=np.int8(3), output_dtype="int8"),
        {"x": X},
    ),
    "quantize by channel": (
        lambda x: mb.quantize(
            input=x,
            scale=np.abs(CHANNELS),
            zero_point=np.array([0, 128, 7], np.uint8),
            axis=1,
            output_dtype="uint8",
        ),
        {"x": X},
    ),
    "range_1d": (lambda x: mb.add(x=mb.range_1d(start=1, end=9, step=3), y=x), {"x": np.int32([5])}),
    "reduce_argmax": (lambda x: mb.reduce_argmax(x=x, axis=1, keep_dims=True), {"x": X}),
    "reduce_argmin": (lambda x: mb.reduce_argmin(x=x), {"x": X}),
    "reshape": (lambda x: mb.reshape(x=x, shape=[4, -1]), {"x": X}),
    "reverse": (lambda x: mb.reverse(x=x, axes=[0, 2]), {"x": X}),
    "scaled_dot_product_attention": (
        lambda q, k, m: mb.scaled_dot_product_attention(query=q, key=k, value=k, attn_mask=m),
        {"q": X, "k": POSITIVE, "m": X[:, :, :3]},
    ),
    "scaled_tanh": (lambda x: mb.scaled_tanh(x=x, alpha=0.3, beta=1.5), {"x": X}),
    "select": (lambda c, x, y: mb.select(cond=c, a=x, b=y), {"c": FLAGS, "x": X, "y": POSITIVE}),
    "shape": (lambda x: mb.shape(x=x), {"x": X}),
    "sigmoid_hard": (lambda x: mb.sigmoid_hard(x=x, alpha=0.3, beta=0.4), {"x": X}),
    "slice_by_index": (lambda x: mb.slice_by_index(x=x, begin=[0, -2, 1], end=[2, 3, 4], stride=[1, 1, 2]), {"x": X}),
    "slice_by_index backwards": (
        lambda x: mb.slice_by_index(
            x=x,
            begin=[1, 2, -1],
            end=[0, 0, 0],
            stride=[1, -1, -2],
            begin_mask=[True, True, False],
            end_mask=[True, False, True],
        ),
        {"x": X},
    ),
    "slice_by_index of one": (
        lambda x: mb.slice_by_index(x=x, begin=[1, -1, 0], end=[0, 0, 2], squeeze_mask=[True, True, False]),
        {"x": X},
    ),
    "slice_by_size": (lambda x: mb.slice_by_size(x=x, begin=[0, 1, 1], size=[2, -1, 2]), {"x": X}),
    "slice_update": (
        lambda x: mb.slice_update(
            x=x,
            update=np.ones((2, 2), np.float32),
            begin=[0, 1, 0],
            end=[2, 0, 4],
            stride=[1, 1, 2],
            squeeze_mask=[False, True, False],
        ),
        {"x": X},
    ),
    "softmax of an axis": (lambda x: mb.softmax(x=x, axis=0), {"x": X}),
    "softplus_parametric": (
        lambda x: mb.softplus_parametric(x=x, alpha=np.abs(CHANNELS), beta=CHANNELS),
        {"x": X},
    ),
    "split": (lambda x: mb.split(x=x, num_splits=2, axis=2), {"x": X}),
    "split in sizes": (lambda x: mb.split(x=x, split_sizes=[1, 3], axis=-1), {"x": X}),
    "squeeze": (lambda x: mb.squeeze(x=x), {"x": X[:1, :, :1]}),
    "squeeze of an axis": (lambda x: mb.squeeze(x=x, axes=[2]), {"x": X[:1, :, :1]}),
    "stack": (lambda x, y: mb.stack(values=[x, y], axis=1), {"x": X, "y": POSITIVE}),
    "threshold": (lambda x: mb.threshold(x=x, alpha=0.2), {"x": X}),
    "thresholded_relu": (lambda x: mb.thresholded_relu(x=x, alpha=0.2), {"x": X}),
    "tile": (lambda x: mb.tile(x=x, reps=[1, 2, 3]), {"x": X}),
    "topk": (lambda x: mb.topk(x=x, k=2, axis=1), {"x": X}),
    "topk ascending": (lambda x: mb.topk(x=x, k=2, axis=-1, ascending=True), {"x": X}),
    "transpose": (lambda x: mb.transpose(x=x, perm=[2, 0, 1]), {"x": X}),
    "scatter_along_axis": (
        lambda x, i, u: mb.scatter_along_axis(data=x, indices=i, updates=u, axis=1, mode="update"),
        {"x": X, "i": np.broadcast_to(np.int32([[2], [0]]), (2, 2, 4)).copy(), "u": POSITIVE[:, :2]},
    ),
}


def assert_equal(found, wanted):
    found = found if isinstance(found, list) else [found]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("op", UNARY)
def test_a_function_of_one_value(op, compute, inferred):
    inputs = {"x": UNARY[op]}
    assert_equal(compute(lambda x: getattr(mb, op)(x=x), inputs), inferred(lambda x: getattr(mb, op)(x=x), inputs))


@pytest.mark.parametrize("op", BINARY)
def test_a_function_of_two_values(op, compute, inferred):
    inputs = dict(zip("xy", BINARY[op], strict=True))

    def function(x, y):
        return getattr(mb, op)(x=x, y=y)

    assert_equal(compute(function, inputs), inferred(function, inputs))


@pytest.mark.parametrize("op", REDUCTIONS)
@pytest.mark.parametrize(("axes", "keep_dims"), [([0, 2], False), ([-1], True), (None, False)])
def test_a_reduction(op, axes, keep_dims, compute, inferred):
    def function(x):
        return getattr(mb, op)(x=x, axes=axes, keep_dims=keep_dims)

    assert_equal(compute(function, {"x": POSITIVE}), inferred(function, {"x": POSITIVE}))


@pytest.mark.parametrize("case", CASES)
def test_an_operation(case, compute, inferred):
    function, inputs = CASES[case]
    assert_equal(compute(function, inputs), inferred(function, inputs))
