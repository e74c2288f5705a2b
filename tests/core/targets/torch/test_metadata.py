"""The buffers of compressed modules: their names, shapes and types, and that they hold the whole encoding."""

import copy

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from corepress.encoding import (
    Affine,
    Dense,
    OpaqueForm,
    Palettized,
    Sparse,
    WeightEncoding,
    compose,
    round_significand,
)
from corepress.errors import StateError
from corepress.targets import torch_weights
from corepress.targets.torch import metadata

SHAPES = {2: (8, 6), 3: (8, 6, 3), 4: (8, 6, 1, 3), 5: (8, 6, 1, 2, 1)}


def module_of(shape, dtype=torch.float32):
    classes = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
    kernel = [] if len(shape) == 2 else [shape[2:]]
    return classes[len(shape)](shape[1], shape[0], *kernel).to(dtype)


def written(encoding, dtype=torch.float32):
    module = module_of(encoding.shape, dtype)
    (weight,) = torch_weights(module)
    weight.write(encoding)
    return weight


def fields(module):
    prefix = "_COREML_/weight/"
    return {
        name.removeprefix(prefix): (tuple(b.shape), b.dtype)
        for name, b in module.named_buffers()
        if name.startswith(prefix)
    }


def types_of(module):
    return module.get_buffer("_COREML_/weight/compression_type").tolist()


def ones(rank):
    return (1,) * rank


ENCODINGS = {
    "dense": lambda make, s: make.dense(s),
    "sparse": lambda make, s: make.sparse(s),
    "int8": lambda make, s: make.affine(s),
    "int8 by channel": lambda make, s: make.affine(s, 8, (8, *ones(len(s) - 1))),
    "int8 by channel of axis 1": lambda make, s: make.affine(s, 8, (1, 6, *ones(len(s) - 2))),
    "int4 in blocks with zero points": lambda make, s: make.affine(s, 4, (8, 3, *ones(len(s) - 2)), zero_points=True),
    "uint8": lambda make, s: make.affine(s, 8, (8, *ones(len(s) - 1)), signed=False),
    "uint3": lambda make, s: make.affine(s, 3, signed=False),
    "palette": lambda make, s: make.palette(s),
    "palette in groups": lambda make, s: make.palette(s, 3, (4, *ones(len(s) - 1))),
    "palette in groups of axis 1": lambda make, s: make.palette(s, 2, (1, 3, *ones(len(s) - 2))),
    "palette with scale": lambda make, s: make.palette(s, 4, scale=(8, *ones(len(s) - 1))),
    "vectors": lambda make, s: make.palette(s, 3, dim=2, axis=0),
    "vectors of axis 1": lambda make, s: make.palette(s, 3, (1, 3, *ones(len(s) - 2)), dim=2, axis=1),
    "integer table": lambda make, s: make.palette(s, 4, (2, *ones(len(s) - 1)), lut_bits=8),
    "sparse int8": lambda make, s: Sparse(make.mask(s), make.affine(s, 8, (8, *ones(len(s) - 1)))),
    "sparse uint4": lambda make, s: Sparse(make.mask(s), make.affine(s, 4, signed=False)),
    "sparse palette": lambda make, s: Sparse(make.mask(s), make.palette(s, 4, (4, *ones(len(s) - 1)))),
    "sparse palette with scale": lambda make, s: Sparse(make.mask(s), make.palette(s, 2, scale=(8, *ones(len(s) - 1)))),
    "sparse integer table": lambda make, s: Sparse(make.mask(s), make.palette(s, 4, lut_bits=8)),
    "clustered integers": lambda make, s: compose(
        make.affine(s, 4, (8, *ones(len(s) - 1))), "palette", make.palette(s, 2)
    ),
    "all pruned": lambda make, s: make.sparse(s, 0),
    "nothing pruned": lambda make, s: make.sparse(s, 2),
}


def portable(encoding):
    """Round the floats of an encoding so that float16 holds the decoded values apart."""
    match encoding:
        case Dense():
            return Dense(encoding.values.to(torch.float16).to(torch.float32))
        case Sparse():
            return attrs.evolve(encoding, payload=portable(encoding.payload))
        case Affine():
            return attrs.evolve(encoding, scale=round_significand(encoding.scale))
        case Palettized():
            scale = None if encoding.scale is None else encoding.scale.to(torch.float16).to(torch.float32)
            return attrs.evolve(encoding, lut=portable(encoding.lut), scale=scale)


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("name", ENCODINGS)
def test_what_was_written_is_read(make, name, rank):
    encoding = ENCODINGS[name](make, SHAPES[rank])
    weight = written(encoding)
    assert weight.encoding() == encoding.canonical()
    assert torch.equal(weight.read(), encoding.decode())


@pytest.mark.parametrize("name", ENCODINGS)
def test_what_was_written_to_a_half_precision_model_is_read(make, name):
    encoding = portable(ENCODINGS[name](make, SHAPES[4]))
    weight = written(encoding, torch.float16)
    assert weight.encoding() == encoding.canonical()
    assert torch.equal(weight.tensor, encoding.decode().to(torch.float16))


@pytest.mark.parametrize("name", [name for name in ENCODINGS if name != "dense"])
def test_a_bfloat16_model_reads_an_encoding_of_its_values(make, name):
    encoding = ENCODINGS[name](make, SHAPES[4])
    if isinstance(encoding, Sparse) and isinstance(encoding.payload, Dense):
        encoding = Sparse(encoding.mask, Dense(encoding.payload.values.to(torch.bfloat16).to(torch.float32)))
    weight = written(encoding, torch.bfloat16)
    read = weight.encoding()
    assert torch.equal(read.decode().to(torch.bfloat16), encoding.decode().to(torch.bfloat16))
    assert read.form == encoding.canonical().form


def test_a_bfloat16_model_keeps_integers_that_it_can_tell_apart(make):
    encoding = make.affine((8, 6), 4, (8, 1))
    assert written(encoding, torch.bfloat16).encoding() == encoding


@given(st.integers(0, 10**6), st.integers(-120, 100))
def test_the_magnitude_of_the_weights_does_not_matter(seed, exponent):
    generator = torch.Generator().manual_seed(seed)
    lut = torch.randn((2, 1, 8, 2), generator=generator) * 2.0**exponent
    indices = torch.randint(8, (4, 6), generator=generator).to(torch.uint8)
    encoding = Palettized(indices, Dense(lut), 3, 0)
    assert written(encoding).encoding() == encoding
    scalars = Palettized(indices, Dense(lut[..., :1].clone()), 3)
    assert written(scalars).encoding() == scalars.canonical()


def test_neighbouring_floats_in_a_table_are_told_apart():
    low = torch.tensor(0.1)
    lut = [low]
    for _ in range(7):
        lut.append(torch.nextafter(lut[-1], torch.tensor(1.0)))
    encoding = Palettized(torch.arange(8, dtype=torch.uint8)[None], Dense(torch.stack(lut).reshape(1, 1, 8, 1)), 3)
    assert written(encoding).encoding() == encoding


def test_tables_may_span_the_whole_range():
    lut = torch.tensor([-3e38, 1e-45, 1.0, 3e38]).reshape(1, 1, 4, 1)
    encoding = Palettized(torch.arange(4, dtype=torch.uint8)[None], Dense(lut), 2)
    assert written(encoding).encoding() == encoding


F32, I64 = torch.float32, torch.int64


@pytest.mark.parametrize(
    ("name", "types", "expected"),
    [
        ("sparse", [1], {}),
        ("int8", [3], {"quantization_n_bits": ((), I64), "quantization_scale": ((1, 1, 1, 1), F32)}),
        (
            "int4 in blocks with zero points",
            [3],
            {
                "quantization_n_bits": ((), I64),
                "quantization_scale": ((8, 3, 1, 1), F32),
                "zero_point": ((8, 3, 1, 1), torch.int8),
            },
        ),
        (
            "uint8",
            [3],
            {
                "quantization_n_bits": ((), I64),
                "quantization_scale": ((8, 1, 1, 1), F32),
                "zero_point": ((8, 1, 1, 1), torch.uint8),
            },
        ),
        ("palette", [2], {"lut": ((1, 1, 1, 1, 16, 1), F32)}),
        ("palette in groups", [2], {"lut": ((4, 1, 1, 1, 8, 1), F32)}),
        ("palette in groups of axis 1", [2], {"lut": ((1, 3, 1, 1, 4, 1), F32)}),
        (
            "palette with scale",
            [2],
            {"lut": ((1, 1, 1, 1, 16, 1), F32), "palettization_scale": ((8, 1, 1, 1), F32)},
        ),
        ("vectors", [2], {"lut": ((1, 1, 1, 1, 8, 2), F32), "vector_axis": ((), I64)}),
        (
            "integer table",
            [2, 3],
            {
                "lut": ((2, 1, 1, 1, 16, 1), F32),
                "quantization_n_bits": ((), I64),
                "quantization_scale": ((2, 1, 1, 1, 1, 1), F32),
            },
        ),
        ("sparse int8", [1, 3], {"quantization_n_bits": ((), I64), "quantization_scale": ((8, 1, 1, 1), F32)}),
        ("sparse palette", [1, 2], {"lut": ((4, 1, 1, 1, 16, 1), F32)}),
        (
            "sparse integer table",
            [1, 2],
            {
                "lut": ((1, 1, 1, 1, 16, 1), F32),
                "quantization_n_bits": ((), I64),
                "quantization_scale": ((1, 1, 1, 1, 1, 1), F32),
            },
        ),
    ],
)
def test_the_buffers_are_those_of_the_protocol(make, name, types, expected):
    weight = written(ENCODINGS[name](make, SHAPES[4]))
    module = weight.modules[0]
    assert types_of(module) == types
    assert fields(module) == {"compression_type": ((len(types),), I64), **expected}
    assert set(module.state_dict()) == {"weight", "bias", *(f"_COREML_/weight/{field}" for field in fields(module))}


def test_the_stored_numbers_are_those_of_the_encoding(make):
    encoding = make.palette((8, 6), 3, (4, 1), lut_bits=8)
    module = written(encoding).modules[0]
    assert torch.equal(module.get_buffer("_COREML_/weight/lut"), encoding.lut.decode())
    assert torch.equal(module.get_buffer("_COREML_/weight/quantization_scale"), encoding.lut.scale)
    assert int(module.get_buffer("_COREML_/weight/quantization_n_bits")) == 8
    vectors = written(make.palette((8, 6), 3, dim=2, axis=1)).modules[0]
    assert int(vectors.get_buffer("_COREML_/weight/vector_axis")) == 1


def test_tables_take_the_precision_of_the_model_where_it_holds_them(make):
    exact = portable(make.palette((8, 6), scale=(8, 1)))
    module = written(exact, torch.float16).modules[0]
    assert module.get_buffer("_COREML_/weight/lut").dtype is torch.float16
    assert module.get_buffer("_COREML_/weight/palettization_scale").dtype is torch.float16
    assert written(make.palette((8, 6)), torch.float16).modules[0].get_buffer("_COREML_/weight/lut").dtype is F32


def test_writing_again_replaces_everything(make):
    weight = written(make.palette((8, 6), scale=(8, 1)))
    weight.write(make.affine((8, 6)))
    assert set(fields(weight.modules[0])) == {"compression_type", "quantization_n_bits", "quantization_scale"}
    weight.write(make.dense((8, 6)))
    assert fields(weight.modules[0]) == {}


def test_the_modules_of_a_tied_weight_all_have_the_buffers(make):
    model = nn.Sequential(nn.Embedding(8, 6), nn.Linear(6, 8))
    model[1].weight = model[0].weight
    (weight,) = torch_weights(model)
    encoding = make.palette((8, 6))
    weight.write(encoding)
    assert fields(model[0]) == fields(model[1]) != {}
    assert torch_weights(model)[0].encoding() == encoding
    assert torch_weights(nn.Sequential(model[1]))[0].encoding() == encoding


def test_buffers_of_one_parameter_do_not_touch_another(make):
    model = nn.MultiheadAttention(8, 2, kdim=6, vdim=8)
    weights = {weight.name: weight for weight in torch_weights(model)}
    weights["q_proj_weight"].write(make.palette((8, 8)))
    weights["k_proj_weight"].write(make.affine((8, 6)))
    weights["q_proj_weight"].write(make.dense((8, 8)))
    assert metadata.buffer_names(model, "q_proj_weight") == []
    assert len(metadata.buffer_names(model, "k_proj_weight")) == 3


def test_copies_and_state_dicts_carry_the_encoding(make):
    encoding = Sparse(make.mask((8, 6)), make.palette((8, 6), 3, (4, 1)))
    module = written(encoding).modules[0]
    assert torch_weights(copy.deepcopy(module))[0].encoding() == encoding
    other = written(Sparse(make.mask((8, 6)), make.palette((8, 6), 3, (4, 1)))).modules[0]
    other.load_state_dict(module.state_dict())
    assert torch_weights(other)[0].encoding() == encoding


def test_changed_values_are_noticed(make):
    weight = written(Sparse(make.mask((8, 6)), make.palette((8, 6))))
    with torch.no_grad():
        weight.parameter[0, 0] += 1
    with pytest.raises(StateError) as caught:
        weight.encoding()
    shown = "sparse, 4-bit palette"
    assert str(caught.value).startswith("weight: its values were changed after it was compressed (")
    assert str(caught.value).endswith(f"{shown}); compress the model again, or remove its '_COREML_' buffers")


@pytest.mark.parametrize("name", ["int8", "uint8", "palette", "vectors", "integer table"])
def test_changed_values_are_noticed_whatever_the_encoding(make, name):
    weight = written(ENCODINGS[name](make, (8, 6)))
    with torch.no_grad():
        weight.parameter.mul_(1.37)
    with pytest.raises(StateError, match=r"^weight: its values were changed after it was compressed"):
        weight.encoding()


@attrs.frozen(eq=False)
class Wavelets(WeightEncoding):
    coefficients: torch.Tensor
    kind = "wavelets"
    form = OpaqueForm("wavelets", 5)

    @property
    def shape(self):
        return tuple(self.coefficients.shape)

    def decode(self):
        return self.coefficients * 2


def test_an_encoding_of_a_plugin_travels_with_the_module(make):
    encoding = Wavelets(make.normal(8, 6))
    weight = written(encoding)
    assert weight.encoding() == encoding
    assert torch_weights(copy.deepcopy(weight.modules[0]))[0].encoding() == encoding
    assert fields(weight.modules[0]) == {}
    with torch.no_grad():
        weight.parameter.zero_()
    with pytest.raises(StateError) as caught:
        weight.encoding()
    assert str(caught.value) == (
        "weight: its values were changed after it was compressed (wavelets); "
        "compress the model again, or remove its '_COREML_' buffers"
    )
    weight.write(make.dense((8, 6)))
    assert isinstance(weight.encoding(), Dense)


def test_values_that_no_integer_stands_for_are_told_from_a_sound_weight(make):
    weight = written(make.affine((8, 6), 4))
    with torch.no_grad():
        weight.parameter.mul_(100)
    with pytest.raises(
        StateError, match=r"^weight: its values do not fit its '_COREML_' buffers \(ValueError: integers"
    ):
        weight.encoding()


def test_buffers_that_are_incomplete_are_named_with_the_weight(make):
    weight = written(make.palette((8, 6)))
    del weight.modules[0]._buffers["_COREML_/weight/lut"]
    with pytest.raises(StateError) as caught:
        weight.encoding()
    assert str(caught.value) == (
        "weight: its values do not fit its '_COREML_' buffers (KeyError: 'lut'); "
        "compress the model again, or remove the buffers"
    )


@pytest.mark.parametrize("kind", ENCODINGS)
def test_every_written_encoding_is_sound_metadata(make, kind):
    weight = written(ENCODINGS[kind](make, (8, 6)))
    metadata.require_sound(weight.modules[0], "weight", weight.tensor, "weight")
