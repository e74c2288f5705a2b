import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from corepress.encoding import Affine, Dense, Sparse, SparseForm, WeightEncoding, pack_bits

MASKS = arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 5))).map(torch.from_numpy)


@given(MASKS)
def test_zeros_are_exact_and_the_rest_is_the_payload(mask):
    values = torch.arange(1.0, mask.numel() + 1).reshape(mask.shape)
    encoding = Sparse(mask, Dense(values))
    decoded = encoding.decode()
    assert torch.equal(decoded[mask], values[mask])
    assert torch.equal(decoded != 0, mask)
    assert encoding.kept == int(mask.sum())
    assert encoding.form == SparseForm(1 - encoding.kept / mask.numel())


def test_what_the_mask_hides_is_no_part_of_the_value():
    mask = torch.tensor([[True, False]])
    assert Sparse(mask, Dense(torch.tensor([[1.0, 2.0]]))) == Sparse(mask, Dense(torch.tensor([[1.0, torch.inf]])))


@pytest.mark.parametrize("kind", ["dense", "affine", "palette", "sparse"])
def test_every_payload_gives_exact_zeros(make, kind):
    payload, mask = getattr(make, kind)((4, 6)), make.mask((4, 6))
    encoding = Sparse(mask, payload)
    assert torch.equal(encoding.decode(), payload.decode().where(mask, 0.0))
    assert encoding.payload.masked(mask) == encoding.payload


def test_zero_points_do_not_leak_into_zeros():
    data = torch.tensor([[3, 200]], dtype=torch.uint8)
    payload = Affine(data, torch.ones(1, 1), torch.full((1, 1), 128, dtype=torch.uint8))
    assert Sparse(torch.tensor([[False, True]]), payload).decode().tolist() == [[0.0, 72.0]]


def test_a_small_weight_is_stored_as_these_bytes():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    encoding = Sparse(mask, Affine(torch.tensor([[1, 2, -3], [4, 5, 7]], dtype=torch.int8), torch.ones(1, 1), n_bits=4))
    assert pack_bits(mask.numpy(), 1).tobytes().hex() == "25"
    assert pack_bits(encoding.payload.data[mask].numpy(), 4).tobytes().hex() == "d107"
    assert encoding.nbytes() == 1 + 2 + 2
    assert encoding.bits_per_weight == 40 / 6


def test_masking_keeps_what_both_masks_keep(make):
    encoding, mask = make.sparse((4, 6)), make.mask((4, 6))
    assert torch.equal(encoding.masked(mask).mask, encoding.mask & mask)


def test_kept_zeros_are_not_canonical():
    encoding = Sparse(torch.tensor([[True, True, False]]), Dense(torch.tensor([[0.0, 1.0, 2.0]])))
    assert encoding.canonical() == Sparse(torch.tensor([[False, True, False]]), Dense(torch.tensor([[0.0, 1.0, 0.0]])))


@pytest.mark.parametrize("kind", ["dense", "affine", "palette"])
def test_the_canonical_encoding_has_the_same_values(make, kind):
    encoding = Sparse(make.mask((8, 8)), getattr(make, kind)((8, 8)))
    canonical = encoding.canonical()
    assert torch.equal(canonical.decode(), encoding.decode())
    assert torch.equal(canonical.mask, encoding.decode() != 0)
    assert canonical.canonical() == canonical


@pytest.mark.parametrize(
    ("mask", "shape"), [(torch.ones(6, dtype=torch.bool), (6,)), (torch.ones(4, 6), (4, 6))], ids=["shape", "dtype"]
)
def test_a_mask_that_does_not_fit_is_refused(mask, shape):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
        Sparse(mask, Dense(torch.ones(4, 6)))
    assert str(caught.value) == (
        f"a mask of {mask.dtype} and shape {shape} does not fit a payload of shape (4, 6); "
        "both must have the weight's shape, and the mask be bool"
    )


def test_an_encoding_that_cannot_be_masked_says_so():
    @attrs.frozen(eq=False)
    class Opaque(WeightEncoding):
        kind = "wavelet"
        shape = (4, 6)
        form = None

        def decode(self):
            return torch.ones(self.shape)

    with pytest.raises(NotImplementedError, match=r"^a wavelet encoding cannot be made sparse$"):
        Sparse(torch.ones(4, 6, dtype=torch.bool), Opaque())
