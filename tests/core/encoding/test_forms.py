import math

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.encoding import (
    Affine,
    AffineForm,
    Dense,
    DenseForm,
    OpaqueForm,
    PaletteForm,
    Palettized,
    Sparse,
    SparseForm,
    pack_bits,
)


def packed_length(encoding, float_bytes, kept=...):
    """The bytes of an encoding, by packing its parts; `kept` selects the stored elements."""
    match encoding:
        case Dense():
            return encoding.values[kept].numel() * float_bytes
        case Sparse():
            return pack_bits(encoding.mask.numpy(), 1).nbytes + packed_length(
                encoding.payload, float_bytes, encoding.mask
            )
        case Affine():
            parts = [encoding.data[kept], *([] if encoding.zero_point is None else [encoding.zero_point])]
            # A package has integers of 4 and of 8 bits.
            n_bits = encoding.n_bits if float_bytes == 4 else 4 if encoding.n_bits <= 4 else 8
            integers = sum(pack_bits(part.numpy(), n_bits).nbytes for part in parts)
            return integers + encoding.scale.numel() * float_bytes
        case Palettized():
            if encoding.scale is not None and float_bytes == 2:
                # A package stores the scales in the tables.
                return packed_length(encoding.folded(), float_bytes, kept)
            scales = 0 if encoding.scale is None else encoding.scale.numel() * float_bytes
            if encoding.n_bits == 5 and float_bytes == 2:
                # A package has no indices of 5 bits: the table gets more entries.
                more = torch.zeros(*encoding.lut.shape[:-2], 32, 1)
                lut = Dense(torch.cat([encoding.lut.decode(), more], dim=-2))
                return packed_length(attrs.evolve(encoding, lut=lut, n_bits=6), float_bytes, kept)
            indices = pack_bits(encoding.indices[kept].numpy(), encoding.n_bits).nbytes
            return indices + packed_length(encoding.lut, float_bytes) + scales


CASES = {
    "dense": lambda make, shape: make.dense(shape),
    "sparse": lambda make, shape: make.sparse(shape, 0.3),
    "int8": lambda make, shape: make.affine(shape),
    "int3 by channel": lambda make, shape: make.affine(shape, 3, (6, 1)),
    "uint5 in blocks": lambda make, shape: make.affine(shape, 5, (6, 5), signed=False),
    "palette": lambda make, shape: make.palette(shape, 3),
    "palette of 5 bits": lambda make, shape: make.palette(shape, 5, (2, 1)),
    "palette in groups": lambda make, shape: make.palette(shape, 2, (3, 1)),
    "palette with scale": lambda make, shape: make.palette(shape, 6, scale=(6, 1)),
    "palette in groups with scale": lambda make, shape: make.palette(shape, 2, (3, 1), scale=(6, 1)),
    "palette in groups with scale on another axis": lambda make, shape: make.palette(shape, 2, (1, 3), scale=(6, 1)),
    "integer table with scale": lambda make, shape: make.palette(shape, 4, (3, 1), lut_bits=8, scale=(6, 1)),
    "vectors with scale": lambda make, shape: make.palette(shape, 4, dim=3, axis=0, scale=(6, 1)),
    "integer vectors with scale": lambda make, shape: make.palette(shape, 4, dim=3, axis=0, lut_bits=8, scale=(6, 1)),
    "sparse palette with scale": lambda make, shape: Sparse(make.mask(shape), make.palette(shape, 3, scale=(6, 1))),
    "vectors": lambda make, shape: make.palette(shape, 4, (1, 5), dim=2, axis=0),
    "integer table": lambda make, shape: make.palette(shape, 4, (3, 1), lut_bits=8),
    "sparse int4": lambda make, shape: Sparse(make.mask(shape), make.affine(shape, 4, (6, 1), zero_points=True)),
    "sparse palette": lambda make, shape: Sparse(make.mask(shape), make.palette(shape, 3, (1, 5))),
    "sparse integer table": lambda make, shape: Sparse(make.mask(shape), make.palette(shape, 3, (2, 1), lut_bits=8)),
}


@pytest.mark.parametrize(("target", "float_bytes"), [("torch", 4), ("iOS16", 2), ("iOS18", 2)])
@pytest.mark.parametrize("case", CASES)
def test_the_size_is_that_of_the_packed_parts(make, case, target, float_bytes):
    encoding = CASES[case](make, (6, 15))
    size = packed_length(encoding, float_bytes)
    assert encoding.nbytes(target) == size
    assert encoding.form.nbytes(90, target) == size
    assert encoding.bits_per_weight == 8 * encoding.nbytes() / 90


BITS = {
    "dense": (lambda make: make.dense((4, 6)), 32),
    "sparse": (lambda make: make.sparse((4, 6)), 32),
    "integers": (lambda make: make.affine((4, 6), 5), 5),
    "palette": (lambda make: make.palette((4, 6), 3, lut_bits=8), 3),
    "sparse palette": (lambda make: Sparse(make.mask((4, 6)), make.palette((4, 6), 2)), 2),
}


@pytest.mark.parametrize(("encoding", "n_bits"), BITS.values(), ids=BITS)
def test_the_bits_are_those_of_one_stored_value(make, encoding, n_bits):
    assert encoding(make).n_bits == n_bits


@pytest.mark.parametrize("target", ["iOS16", "ios18", "macOS15", "watchOS11", "tvOS18"])
def test_every_deployment_target_stores_half_precision(make, target):
    assert make.dense((4, 6)).nbytes(target) == 48


@pytest.mark.parametrize("target", ["", "Torch", "iOS", "18", "coreml", "android15"])
@pytest.mark.parametrize("case", CASES)
def test_an_unknown_target_is_refused(make, case, target):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
        CASES[case](make, (6, 15)).nbytes(target)
    assert str(caught.value) == f"unknown target {target!r}; give 'torch' or a deployment target such as 'iOS18'"


@given(st.integers(1, 10**12), st.data())
def test_a_fraction_computed_from_a_count_gives_the_count_back(count, data):
    kept = data.draw(st.integers(max(0, count - 10**9), count)) if count > 10**9 else data.draw(st.integers(0, count))
    assert SparseForm(1 - kept / count).kept(count) == kept or count > 10**9


@pytest.mark.parametrize(("count", "sparsity"), [(10, 0.7), (100, 0.29), (22, 15 / 22), (7, 0.5), (3, 1 / 3)])
def test_the_zeros_of_a_predicted_form_are_rounded_down(count, sparsity):
    exact = {(10, 0.7): 7, (100, 0.29): 29, (22, 15 / 22): 15, (7, 0.5): 3, (3, 1 / 3): 1}
    assert count - SparseForm(sparsity).kept(count) == exact[count, sparsity]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (DenseForm(), "dense"),
        (SparseForm(0.75), "75% sparse"),
        (SparseForm(0.5, AffineForm(8)), "50% sparse, int8"),
        (AffineForm(4, signed=False), "uint4"),
        (AffineForm(4, scales=64, blockwise=True), "int4 in blocks"),
        (PaletteForm(4), "4-bit palette"),
        (
            PaletteForm(2, groups=8, cluster_dim=2, scales=64, lut=AffineForm(8)),
            "2-bit palette, 8 LUTs, vectors of 2, int8 LUT, per-channel scale",
        ),
        (OpaqueForm("wavelets", 99), "wavelets"),
    ],
)
def test_a_form_describes_itself(form, text):
    assert form.describe() == text


def test_an_opaque_form_has_the_size_that_its_plugin_declares():
    assert OpaqueForm("wavelets", 99).nbytes(1000, "iOS18") == 99


def test_the_grid_is_no_part_of_equality():
    assert PaletteForm(4, groups=8, grid=(8, 1)) == PaletteForm(4, groups=8)
    assert AffineForm(4, scales=8, grid=(8, 1)) == AffineForm(4, scales=8, grid=(1, 8))


def test_encodings_know_the_grid_of_their_scales_and_tables(make):
    affine, palette = make.affine((4, 6), 8, (4, 2)), make.palette((4, 6), 3, (2, 3))
    assert affine.form == AffineForm(8, scales=8, blockwise=True)
    assert affine.form.grid == (4, 2)
    assert math.prod(palette.form.grid) == palette.form.groups == 6


@pytest.mark.parametrize(
    ("form", "apart", "together"),
    [
        (AffineForm(8, grid=(1, 1)), AffineForm(8, scales=3), AffineForm(8)),
        (AffineForm(8, scales=12, grid=(12, 1)), AffineForm(8, scales=12), AffineForm(8, scales=12)),
        (PaletteForm(4), PaletteForm(4, groups=3), PaletteForm(4)),
        (PaletteForm(4, groups=4, grid=(4, 1)), PaletteForm(4, groups=12), PaletteForm(4, groups=12)),
        (PaletteForm(4, groups=4, grid=(1, 4)), PaletteForm(4, groups=12), PaletteForm(4, groups=4)),
        (
            SparseForm(0.5, PaletteForm(2, lut=AffineForm(8))),
            SparseForm(0.5, PaletteForm(2, groups=3, lut=AffineForm(8, scales=3))),
            SparseForm(0.5, PaletteForm(2, lut=AffineForm(8))),
        ),
        (DenseForm(), DenseForm(), DenseForm()),
        (OpaqueForm("own", 5), OpaqueForm("own", 5), OpaqueForm("own", 5)),
    ],
)
def test_parts_of_a_weight_that_are_held_apart_have_tables_and_scales_of_their_own(form, apart, together):
    assert form.in_parts(0, 3, apart=True) == apart
    assert form.in_parts(0, 3, apart=False) == together


def test_sizes_of_a_form_of_its_own_hold_for_newer_targets():
    form = OpaqueForm("own", {"torch": 7, "iOS16": 100, "iOS18": 50})
    sizes = {target: form.nbytes(9, target) for target in ("torch", "iOS16", "iOS17", "iOS18", "iOS26")}
    assert sizes == {"torch": 7, "iOS16": 100, "iOS17": 100, "iOS18": 50, "iOS26": 50}
    with pytest.raises(ValueError, match="own has no size for 'iOS15'; it has one for torch, iOS16, iOS18"):
        form.nbytes(9, "iOS15")


@pytest.mark.parametrize("wrong", [-9, 2.5, "many", {}, {"iOS18": "x"}])
def test_sizes_of_a_form_of_its_own_are_numbers_of_bytes(wrong):
    with pytest.raises(ValueError, match="bytes_stored must be a number of bytes"):
        OpaqueForm("own", wrong)


@pytest.mark.parametrize("target", ["macOS15", "ios16", "iOS", 18])
def test_sizes_of_a_form_of_its_own_are_for_targets(target):
    with pytest.raises(ValueError, match=f"takes sizes by the names torch, iOS16, iOS18, ..., not {target!r}"):
        OpaqueForm("own", {"torch": 7, target: 9})


@pytest.mark.parametrize("wrong", [{"minimum_target": "iOS"}, {"minimum_target": 18}, {"followed_by": ("sparsty",)}])
def test_an_own_form_that_names_what_there_is_not_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OpaqueForm("own", 5, **wrong)
