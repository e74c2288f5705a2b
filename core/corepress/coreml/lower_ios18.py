"""The operations since iOS18: blocks, groups, vectors, sub-byte data and joint forms.

Shapes and types follow the operations of coremltools.converters.mil.mil.ops.defs.iOS18.compression.
"""

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corepress.coreml.ops import INDEX_BITS, INTEGER_BITS, OpBuilder, Var, container, integers
from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding


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
    scaled = palette.scale is not None
    dense = ops.add(
        "constexpr_lut_to_dense",
        "palettized" if scaled else "",
        indices=integers(palette.indices, container(palette.n_bits, INDEX_BITS)),
        lut=_lut(palette, ops),
        vector_axis=_vector_axis(palette),
    )
    if palette.scale is None:
        return dense
    return ops.add("constexpr_blockwise_shift_scale", data=dense, scale=ops.floats(palette.scale))


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
    mask, values = ops.add(
        "constexpr_lut_to_sparse",
        "palettized",
        indices_mask=mask,
        indices_nonzero_data=integers(palette.indices[kept], container(palette.n_bits, INDEX_BITS)),
        lut=_lut(palette, ops),
    )
    if palette.scale is not None:
        mask, values = ops.add(
            "constexpr_sparse_blockwise_shift_scale",
            "scaled",
            data_mask=mask,
            nonzero_data=values,
            scale=ops.floats(palette.scale),
        )
    return mask, values


def _lut(palette: Palettized, ops: OpBuilder) -> Var:
    """Return the look-up table, padded with zeros when its entries are fewer than a stored index can name."""
    missing = 2 ** container(palette.n_bits, INDEX_BITS) - 2**palette.n_bits
    if isinstance(palette.lut, Affine):
        padded = torch.nn.functional.pad(palette.lut.data, (0, 0, 0, missing))
        return _affine(attrs.evolve(palette.lut, data=padded), ops, role="lut")
    return ops.floats(torch.nn.functional.pad(palette.lut.decode(), (0, 0, 0, missing)))


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
