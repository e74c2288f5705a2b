"""The operations since iOS18: blocks, groups, vectors, sub-byte data and joint forms.

Shapes and types follow the operations of coremltools.converters.mil.mil.ops.defs.iOS18.compression.
"""

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corepress.coreml.storage.builder import OpBuilder, Var, integers
from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding
from corepress.encoding.bits import INDEX_BITS, INTEGER_BITS, container
from corepress.targets.support import scales_after_look_up


def write(encoding: WeightEncoding, ops: OpBuilder) -> Var:
    """Write the operations of a built-in encoding, whose floats are stored as they are, and return the dense output."""
    match encoding:
        case Sparse(payload=Sparse() as inner):
            return write(Sparse(encoding.mask & inner.mask, inner.payload), ops)
        case Sparse():
            return _sparse(encoding if encoding.kept else _one_kept_zero(encoding), ops)
        case Palettized():
            return _palettized(encoding, ops)
        case Affine():
            return _affine(encoding, ops, role="")
    return ops.add("const", val=ops.floats(encoding.decode()))


def _affine(affine: Affine, ops: OpBuilder, role: str) -> Var:
    return ops.add(
        "constexpr_blockwise_shift_scale",
        role,
        data=_data(affine, affine.data),
        scale=ops.floats(affine.scale),
        offset=_offset(affine),
    )


def _palettized(palette: Palettized, ops: OpBuilder) -> Var:
    assert palette.scale is None, "exact_storage multiplies scales into the tables"
    indices = integers(palette.indices, container(palette.n_bits, INDEX_BITS))
    axis = _vector_axis(palette)
    if not (isinstance(palette.lut, Affine) and scales_after_look_up(ops.target)):
        return ops.add("constexpr_lut_to_dense", indices=indices, lut=_lut(palette, ops), vector_axis=axis)
    lut = _padded(palette.lut, palette)
    looked_up = ops.add(
        "constexpr_lut_to_dense",
        "palettized",
        indices=indices,
        lut=integers(lut.data, 8, signed=lut.signed),
        vector_axis=axis,
    )
    return ops.add(
        "constexpr_blockwise_shift_scale",
        data=looked_up,
        scale=ops.floats(lut.scale[..., 0, 0]),
        offset=None if lut.zero_point is None else integers(lut.zero_point[..., 0, 0], 8, signed=lut.signed),
    )


def _sparse(sparse: Sparse, ops: OpBuilder) -> Var:
    mask: Var = integers(sparse.mask, 1)
    match sparse.payload:
        case Palettized() as palette:
            mask, kept = _kept_palettized(palette, sparse.mask, mask, ops)
        case Affine() as affine:
            mask, kept = ops.add(
                "constexpr_sparse_blockwise_shift_scale",
                "quantized",
                data_mask=mask,
                nonzero_data=_data(affine, affine.data[sparse.mask]),
                scale=ops.floats(affine.scale),
                offset=_offset(affine),
            )
        case payload:
            kept = ops.floats(payload.decode()[sparse.mask])
    return ops.add("constexpr_sparse_to_dense", nonzero_data=kept, mask=mask)


def _kept_palettized(palette: Palettized, kept: Tensor, mask: Var, ops: OpBuilder) -> tuple[Var, Var]:
    assert palette.scale is None, "exact_storage multiplies scales into the tables"
    mask, values = ops.add(
        "constexpr_lut_to_sparse",
        "palettized",
        indices_mask=mask,
        indices_nonzero_data=integers(palette.indices[kept], container(palette.n_bits, INDEX_BITS)),
        lut=_lut(palette, ops),
    )
    return mask, values


def _lut(palette: Palettized, ops: OpBuilder) -> Var:
    """Return the look-up table, padded with zeros when its entries are fewer than a stored index can name."""
    if isinstance(palette.lut, Affine):
        return _affine(_padded(palette.lut, palette), ops, role="lut")
    return ops.floats(_with_zeros(palette.lut.decode(), palette))


def _padded(lut: Affine, palette: Palettized) -> Affine:
    return attrs.evolve(lut, data=_with_zeros(lut.data, palette))


def _with_zeros(entries: Tensor, palette: Palettized) -> Tensor:
    missing = 2 ** container(palette.n_bits, INDEX_BITS) - 2**palette.n_bits
    return torch.nn.functional.pad(entries, (0, 0, 0, missing))


def _vector_axis(palette: Palettized) -> np.int32 | None:
    return None if palette.vector_axis is None or palette.cluster_dim == 1 else np.int32(palette.vector_axis)


def _data(affine: Affine, values: Tensor) -> npt.NDArray[Any]:
    return integers(values, container(affine.n_bits, INTEGER_BITS), signed=affine.signed)


def _offset(affine: Affine) -> npt.NDArray[Any] | None:
    return None if affine.zero_point is None else _data(affine, affine.zero_point)


def _one_kept_zero(sparse: Sparse) -> Sparse:
    """Keep one element, of value zero: an operation without any kept element cannot be stored."""
    mask = torch.zeros_like(sparse.mask)
    mask.view(-1)[0] = True
    return Sparse(mask, Dense(torch.zeros(sparse.shape)))
