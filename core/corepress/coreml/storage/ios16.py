"""The operations of iOS16 and iOS17: one look-up table, 8-bit data per tensor or channel, or a mask.

Layouts follow the operations of coremltools.converters.mil.mil.ops.defs.iOS16.constexpr_ops.
"""

import numpy as np
import torch

from corepress.coreml.storage.builder import OpBuilder, Var
from corepress.encoding import Affine, Palettized, Sparse, WeightEncoding, pack_bits
from corepress.encoding.bits import INDEX_BITS_IOS16, container


def write(encoding: WeightEncoding, ops: OpBuilder) -> Var:
    """Write the operation of a built-in encoding, whose floats are stored as they are, and return the dense output."""
    match encoding:
        case Sparse():
            return _sparse(encoding, ops)
        case Palettized():
            return _palettized(encoding, ops)
        case Affine():
            return _affine(encoding, ops)
    return ops.add("const", val=ops.floats(encoding.decode()))


def _sparse(sparse: Sparse, ops: OpBuilder) -> Var:
    mask = sparse.mask
    if not sparse.kept:
        # An operation without any kept element cannot be stored: keep one zero.
        mask = mask.clone()
        mask.view(-1)[0] = True
    return ops.add(
        "constexpr_sparse_to_dense",
        nonzero_data=ops.floats(sparse.decode()[mask]),
        mask=pack_bits(mask.numpy(), 1),
        shape=np.array(sparse.shape, np.uint32),
    )


def _palettized(palette: Palettized, ops: OpBuilder) -> Var:
    bits = container(palette.n_bits, INDEX_BITS_IOS16)
    lut = palette.lut.decode().reshape(-1)
    return ops.add(
        "constexpr_lut_to_dense",
        indices=pack_bits(palette.indices.numpy(), bits),
        lut=ops.floats(torch.nn.functional.pad(lut, (0, 2**bits - len(lut)))),
        shape=np.array(palette.shape, np.uint32),
    )


def _affine(affine: Affine, ops: OpBuilder) -> Var:
    axis = next((axis for axis, scales in enumerate(affine.scale.shape) if scales > 1), 0)
    data = affine.data.numpy()
    scale = ops.floats(affine.scale).reshape(-1)
    zero_point = np.zeros(1, data.dtype) if affine.zero_point is None else affine.zero_point.numpy().reshape(-1)
    return ops.add(
        "constexpr_affine_dequantize",
        quantized_data=data,
        zero_point=zero_point if len(zero_point) > 1 else zero_point[0],
        scale=scale if len(scale) > 1 else scale[0],
        axis=np.int32(axis),
    )
