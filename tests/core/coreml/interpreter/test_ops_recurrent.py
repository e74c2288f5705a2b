"""Recurrent operations against their formulas, step by step in double precision."""

import numpy as np
import pytest

from corepress.coreml._coremltools import mb

rng = np.random.default_rng(0)
STEPS, BATCH, INPUTS, HIDDEN = 4, 2, 3, 5


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


X, H, C = normal(STEPS, BATCH, INPUTS), normal(BATCH, HIDDEN), normal(BATCH, HIDDEN)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def walk(step, *state, reverse=False):
    states = []
    for x in X[::-1] if reverse else X:
        state = step(x, *state)
        states.append(state[0])
    return np.stack(states[::-1] if reverse else states), *state


def near(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_an_rnn(direction, compute):
    w_x, w_h, b = normal(HIDDEN, INPUTS), normal(HIDDEN, HIDDEN), normal(HIDDEN)
    weights = {"weight_ih": w_x, "weight_hh": w_h, "bias": b, "activation": "relu"}
    found = compute(
        lambda x, h: mb.rnn(x=x, initial_h=h, direction=direction, output_sequence=True, **weights), {"x": X, "h": H}
    )
    wanted = walk(lambda x, h: (np.maximum(x @ w_x.T + b + h @ w_h.T, 0),), H, reverse=direction == "reverse")
    near(found, wanted)


@pytest.mark.parametrize("reset_after", [False, True])
def test_a_gru(reset_after, compute):
    w_x, w_h, b, b_x = normal(15, INPUTS), normal(15, HIDDEN), normal(15), normal(15)
    weights = {"weight_ih": w_x, "weight_hh": w_h, "bias": b, "input_bias": b_x, "reset_after": reset_after}

    def step(x, h):
        x_r, x_o, x_z = np.split(x @ w_x.T + b_x + (0 if reset_after else b), 3, 1)
        h_r, h_o, h_z = np.split(h @ w_h.T + (b if reset_after else 0), 3, 1)
        z = sigmoid(x_z + h_z)
        return ((1 - z) * np.tanh(x_o + sigmoid(x_r + h_r) * h_o) + z * h,)

    found = compute(lambda x, h: mb.gru(x=x, initial_h=h, output_sequence=True, **weights), {"x": X, "h": H})
    near(found, walk(step, H))


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def lstm_step(w_x, w_h, b, gate=sigmoid, peephole=None, clip=np.inf):
    p_i, p_f, p_o = np.zeros((3, 1)) if peephole is None else np.split(peephole, 3)

    def step(x, h, c):
        i, f, o, z = np.split(x @ w_x.T + b + h @ w_h.T, 4, 1)
        c_next = gate(f + p_f * c) * c + gate(i + p_i * c) * np.clip(np.tanh(z), -clip, clip)
        return gate(o + p_o * c_next) * np.tanh(c_next), c_next

    return step


PEEPHOLE = normal(15)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize(
    ("extras", "formula"),
    [
        ({}, {}),
        ({"peephole": PEEPHOLE}, {"peephole": PEEPHOLE}),
        ({"clip": 0.3}, {"clip": 0.3}),
        ({"recurrent_activation": "hard_sigmoid"}, {"gate": hard_sigmoid}),
    ],
)
@pytest.mark.parametrize("output_sequence", [False, True])
def test_an_lstm(extras, formula, direction, output_sequence, compute):
    w_x, w_h, b = normal(20, INPUTS), normal(20, HIDDEN), normal(20)
    options = {"weight_ih": w_x, "weight_hh": w_h, "bias": b, "direction": direction, **extras}
    found = compute(
        lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, output_sequence=output_sequence, **options),
        {"x": X, "h": H, "c": C},
    )
    states, h, c = walk(lstm_step(w_x, w_h, b, **formula), H, C, reverse=direction == "reverse")
    near(found, (states if output_sequence else h[None], h, c))


@pytest.mark.parametrize("extras", [{}, {"clip": 100.0}])
def test_an_lstm_in_both_directions(extras, compute):
    forth, back = ((normal(20, INPUTS), normal(20, HIDDEN), normal(20)) for _ in range(2))
    names = ("weight_ih", "weight_hh", "bias")
    weights = dict(zip(names, forth, strict=True)) | {f"{n}_back": w for n, w in zip(names, back, strict=True)}
    options = {"direction": "bidirectional", "output_sequence": True, **weights, **extras}
    inputs = {"x": X, "h": np.concatenate([H, 2 * H], 1), "c": np.concatenate([C, 2 * C], 1)}
    found = compute(lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, **options), inputs)
    parts = walk(lstm_step(*forth), H, C), walk(lstm_step(*back), 2 * H, 2 * C, reverse=True)
    near(found, [np.concatenate(pair, -1) for pair in zip(*parts, strict=True)])


def test_a_list_grows_as_it_is_written(compute):
    def function(x):
        ls = mb.make_list(init_length=1, elem_shape=[2], dynamic_length=True)
        ls = mb.list_write(ls=ls, index=0, value=x)
        ls = mb.list_scatter(ls=ls, indices=[2, 1], value=mb.stack(values=[mb.exp(x=x), mb.square(x=x)], axis=0))
        return mb.list_gather(ls=ls, indices=[1, 2]), mb.list_read(ls=ls, index=0), mb.list_length(ls=ls)

    x = np.float32([2, 3])
    gathered, first, length = compute(function, {"x": x})
    np.testing.assert_allclose(gathered, [np.square(x), np.exp(x)], rtol=1e-6)
    assert (first.tolist(), length) == ([2, 3], 3)


def test_a_list_of_tensors_of_unknown_length_takes_the_shape_of_what_is_written(compute):
    def function(x):
        ls = mb.make_list(init_length=2, elem_shape=["batch", 2], dynamic_length=True)
        ls = mb.list_write(ls=ls, index=1, value=x)
        return mb.list_gather(ls=ls, indices=[0, 1])

    x = np.float32([[2, 3], [4, 5], [6, 7]])
    found = compute(function, {"x": x})
    np.testing.assert_array_equal(found, [np.zeros_like(x), x])
