import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corepress.coreml import DeploymentTarget
from corepress.coreml.storage.exactness import exact_storage, package_value, rounding_to, stored
from corepress.encoding import Affine, Dense, Palettized, Sparse, round_significand
from corepress.errors import ExportError

HALF = rounding_to(np.float16)
IOS16, IOS18 = DeploymentTarget.iOS16, DeploymentTarget.iOS18


def exact_value(encoding, target=IOS18):
    return package_value(exact_storage(encoding, HALF, target), HALF)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-30, 0), bits=st.sampled_from([2, 4, 8]))
def test_scaled_palettes_are_exact_at_every_magnitude(seed, exponent, bits):
    rng = torch.Generator().manual_seed(seed)
    lut = round_significand(torch.randn(2, 1, 2**bits, 1, generator=rng))
    scale = round_significand(torch.rand(4, 1, generator=rng) * 2.0**exponent)
    indices = torch.randint(0, 2**bits, (4, 6), generator=rng, dtype=torch.uint8)
    palette = Palettized(indices, Dense(lut), bits, scale=scale)
    for encoding in (palette, Sparse(indices < 2, palette)):
        assert torch.equal(exact_value(encoding), HALF(encoding.decode()))


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), exponent=st.integers(-30, 0), bits=st.sampled_from([4, 8]), offsets=st.booleans())
def test_integers_are_exact_at_every_magnitude(seed, exponent, bits, offsets):
    rng = torch.Generator().manual_seed(seed)
    top = 2 ** (bits - 1)
    data = torch.randint(-top, top, (4, 6), generator=rng).to(torch.int8)
    scale = round_significand(torch.rand(4, 2, generator=rng) * 2.0**exponent)
    zero_point = torch.randint(-top, top, (4, 2), generator=rng).to(torch.int8) if offsets else None
    affine = Affine(data, scale, zero_point, bits)
    for encoding in (affine, Sparse(data > 0, affine)):
        assert torch.equal(exact_value(encoding), HALF(encoding.decode()))


def test_what_is_exact_as_it_is_stays_as_it_is(encodings):
    for encoding in (
        encodings.palette((4, 6), 4, (2, 1)),
        encodings.affine((4, 6), 8, (4, 1)),
        Sparse(encodings.mask(4, 6), encodings.palette((4, 6), 4, lut_bits=8)),
    ):
        assert exact_storage(encoding, HALF, IOS18) == stored(encoding, HALF)


@pytest.mark.parametrize("scales", [(4, 1), (4, 2)])
def test_tiny_scales_of_integers_move_into_a_table_for_each_scale(encodings, scales):
    storage = exact_storage(encodings.affine((4, 6), 4, scales, size=1e-6), HALF, IOS18)
    assert isinstance(storage, Palettized)
    assert storage.groups == scales
    assert storage.scale is None


SCALED = {
    "one table": {},
    "groups": {"groups": (2, 1)},
    "groups on the other axis": {"groups": (1, 3)},
    "table of integers": {"lut_bits": 8},
    "groups of integers": {"groups": (2, 1), "lut_bits": 8},
    "vectors along the channels": {"dim": 4, "axis": 0},
    "vectors across the channels": {"dim": 2, "axis": 1},
    "vectors of integers": {"dim": 2, "axis": 0, "lut_bits": 8},
}


@pytest.mark.parametrize("case", SCALED)
@pytest.mark.parametrize("size", [1.0, 1e-5])
def test_scales_of_a_palette_are_always_multiplied_into_the_tables(encodings, case, size):
    palette = encodings.palette((8, 6), 2, **SCALED[case], scale=encodings.scales(8, 1, size=size))
    for encoding in (palette, Sparse(encodings.mask(8, 6), palette)) if palette.cluster_dim == 1 else (palette,):
        storage = exact_storage(encoding, HALF, IOS18)
        payload = storage.payload if isinstance(storage, Sparse) else storage
        assert isinstance(payload, Palettized)
        assert payload.scale is None
        assert payload.groups == palette.folded_grid
        assert torch.equal(package_value(storage, HALF), HALF(encoding.decode()))


def test_a_table_of_integers_stays_one_under_scales_that_half_precision_holds(encodings):
    data = torch.tensor([-127, -5, 3, 100], dtype=torch.int8).reshape(1, 1, 4, 1)
    lut = Affine(data, torch.full((1, 1, 1, 1), 2.0**-7))
    indices = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]], dtype=torch.uint8)
    palette = Palettized(indices, lut, 2, scale=encodings.scales(2, 1))
    storage = exact_storage(palette, HALF, IOS18)
    assert storage.lut.kind == "affine"
    assert storage.nbytes() == palette.nbytes()


def test_one_table_saves_a_tiny_tensor_on_ios16(encodings):
    affine = encodings.affine((4, 6), 8, (1, 1), size=1e-6)
    assert torch.equal(exact_value(affine, IOS16), HALF(affine.decode()))


def test_ios16_cannot_hold_tiny_channels_in_half_precision(encodings):
    with pytest.raises(ExportError) as caught:
        exact_storage(encodings.affine((4, 6), 8, (4, 1), size=1e-6), HALF, IOS16)
    assert str(caught.value) == (
        "its scales are too small for float16 to hold int8 exactly; "
        "convert with compute_precision=coremltools.precision.FLOAT32"
    )


def test_values_beyond_half_precision_are_refused(encodings):
    with pytest.raises(ExportError) as caught:
        exact_storage(encodings.affine((4, 6), 8, (4, 1), size=1e4), HALF, IOS18)
    assert str(caught.value) == (
        "its values overflow float16; convert with compute_precision=coremltools.precision.FLOAT32"
    )


def test_single_precision_needs_no_help(encodings):
    tiny = encodings.affine((4, 6), 8, (4, 1), size=1e-6)
    assert exact_storage(tiny, rounding_to(np.float32), IOS18) == tiny


def test_every_operation_of_a_package_rounds_its_result():
    lut = Dense(HALF(torch.tensor([0.1, 1 / 3]).reshape(1, 1, 2, 1)))
    palette = Palettized(torch.tensor([[0, 1]], dtype=torch.uint8), lut, 1, scale=HALF(torch.tensor([[0.7]])))
    by_hand = (np.array([0.1, 1 / 3], np.float16) * np.float16(0.7)).astype(np.float32)
    assert package_value(palette, HALF).tolist() == [by_hand.tolist()]
