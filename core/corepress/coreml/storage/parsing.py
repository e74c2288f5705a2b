"""From constant operations back to the encoding that they hold."""

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from corepress.coreml._coremltools import types
from corepress.coreml.storage.exactness import Rounding, package_value, rounding_to
from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding, integer_lut, unpack_bits
from corepress.encoding.affine import spread
from corepress.errors import ExportError


def encoding_of(var: Any) -> WeightEncoding:
    """Return the encoding of a constant value of a program; floats keep the precision in which they are stored.

    Raises ExportError for operations that hold no weight or in an order that no encoding describes.
    """
    read = _READERS.get((var.op.op_type, _is_ios16(var.op)))
    if read is None:
        raise ExportError(f"{var.name}: operation {var.op.op_type} holds no weight that corepress knows")
    return read(var.op)


def rounding_of(var: Any) -> Rounding:
    """Return the rounding of a value's precision; integers are left alone."""
    return rounding_to(types.nptype_from_builtin(var.dtype) if types.is_float(var.dtype) else np.dtype(np.float32))


def chain_of(var: Any) -> tuple[Any, ...]:
    """Return the constant operations behind a value, in the order in which they run, each once."""
    found: dict[int, Any] = {}

    def visit(op: Any) -> None:
        for given in op.inputs.values():
            if given.op.op_type.startswith("constexpr_"):
                visit(given.op)
        found.setdefault(id(op), op)

    visit(var.op)
    return tuple(found.values())


def _is_ios16(op: Any) -> bool:
    return "shape" in op.inputs


def _floats(var: Any) -> Tensor:
    # torch converts half precision many times faster than numpy.
    return torch.from_numpy(np.array(var.val)).to(torch.float32)


def _integers(var: Any) -> Tensor:
    signed = np.issubdtype(var.val.dtype, np.signedinteger)
    return torch.from_numpy(np.array(var.val, np.int8 if signed else np.uint8))


def _bits(var: Any) -> int:
    return int(var.dtype.get_bitwidth())


def _const(op: Any) -> WeightEncoding:
    var = op.outputs[0]
    if types.is_float(var.dtype):
        return Dense(_floats(var))
    data = _integers(var)
    return Affine(data, torch.ones((1,) * data.ndim), n_bits=_bits(var))


def _shift_scale(op: Any) -> WeightEncoding:
    scale = _floats(op.scale)
    if op.data.op.op_type == "const" and not types.is_float(op.data.dtype):
        return _affine(op, Affine(_integers(op.data), torch.ones_like(scale), n_bits=_bits(op.data)), scale)
    data = encoding_of(op.data)
    if isinstance(data, Palettized) and isinstance(data.lut, Affine):
        lut = data.lut
        if op.offset is not None and not _is_whole(op.offset, lut):
            table = integer_lut(lut.data, scale, None, lut.n_bits)
            offset = spread(_floats(op.offset), table.scale.shape[:-2])[..., None, None]
            return attrs.evolve(data, lut=Dense((table.data.float() - offset) * table.scale))
        whole = None if op.offset is None else _whole(op.offset, lut)
        return attrs.evolve(data, lut=integer_lut(lut.data, scale, whole, lut.n_bits))
    if isinstance(data, Palettized) and data.scale is None and op.offset is None:
        return attrs.evolve(data, scale=scale)
    if isinstance(data, Dense) and op.offset is None:
        # Compression tools move the scale of a palette onto its table of floats.
        return Dense(data.values * spread(scale, data.shape))
    raise ExportError(f"{op.name}: a scale over {data.kind} data has no encoding")


def _affine(op: Any, data: Affine, scale: Tensor) -> WeightEncoding:
    """Return integers with the scale and the offset of an operation; their values, where the offset is no integer."""
    if op.offset is None:
        return attrs.evolve(data, scale=scale)
    if _is_whole(op.offset, data):
        return attrs.evolve(data, scale=scale, zero_point=_whole(op.offset, data).reshape(scale.shape))
    offset = _floats(op.offset).reshape(scale.shape)
    return Dense((data.data.float() - spread(offset, data.shape)) * spread(scale, data.shape))


def _is_whole(offset: Any, data: Affine) -> bool:
    """Tell whether an offset, which may be of a float type, is one of the integers of the data."""
    if not types.is_float(offset.dtype):
        return True
    values, (low, high) = _floats(offset), data.bounds
    return bool(((values == values.round()) & (values >= low) & (values <= high)).all())


def _whole(offset: Any, data: Affine) -> Tensor:
    """Return an offset in the type of the integers."""
    return _floats(offset).to(data.data.dtype) if types.is_float(offset.dtype) else _integers(offset)


def _lut_to_dense(op: Any) -> WeightEncoding:
    return _palettized(_integers(op.indices), op)


def _palettized(indices: Tensor, op: Any) -> Palettized:
    lut = encoding_of(op.lut)
    bits, dim = int(lut.shape[-2]).bit_length() - 1, lut.shape[-1]
    axis = None if dim == 1 else int(op.vector_axis.val) % indices.ndim
    return Palettized(indices, lut, bits, axis)


def _sparse_to_dense(op: Any) -> WeightEncoding:
    mask = _mask(op.mask)
    return Sparse(mask, _kept(op.nonzero_data, mask))


def _mask(var: Any) -> Tensor:
    if var.op.op_type == "const":
        return _integers(var) != 0
    source = var.op.inputs.get("indices_mask") or var.op.inputs["data_mask"]
    mask = _mask(source)
    axis, dim = var.op.inputs.get("vector_axis"), var.op.inputs["lut"].shape[-1] if "lut" in var.op.inputs else 1
    return mask if dim == 1 else mask.repeat_interleave(dim, dim=int(axis.val))


def _kept(var: Any, mask: Tensor) -> WeightEncoding:
    """Return the payload, of the weight's shape, of the kept elements that `var` lists."""
    op = var.op
    if op.op_type == "const":
        if types.is_float(var.dtype):
            return Dense(_scattered(_floats(var), mask))
        data = _scattered(_integers(var), mask)
        return Affine(data, torch.ones((1,) * data.ndim), n_bits=_bits(var))
    if op.op_type == "constexpr_lut_to_sparse":
        return _palettized(_scattered(_integers(op.indices_nonzero_data), _mask(op.indices_mask)), op)
    if op.op_type == "constexpr_sparse_blockwise_shift_scale":
        return _scaled_kept(op, mask)
    raise ExportError(f"{op.name}: operation {op.op_type} holds no kept values that corepress knows")


def _scaled_kept(op: Any, mask: Tensor) -> WeightEncoding:
    payload, scale = _kept(op.nonzero_data, mask), _floats(op.scale)
    if isinstance(payload, Affine):
        return _affine(op, payload, scale)
    if isinstance(payload, Palettized) and payload.scale is None and op.offset is None:
        return attrs.evolve(payload, scale=scale)
    raise ExportError(f"{op.name}: a scale over {payload.kind} kept values has no encoding")


def _scattered(values: Tensor, mask: Tensor) -> Tensor:
    whole = torch.zeros(mask.shape, dtype=values.dtype)
    whole[mask] = values
    return whole


def _sparse_to_dense_ios16(op: Any) -> WeightEncoding:
    shape = tuple(int(n) for n in op.shape.val)
    mask = torch.from_numpy(unpack_bits(op.mask.val, 1, int(np.prod(shape)))).reshape(shape) != 0
    return Sparse(mask, Dense(_scattered(_floats(op.nonzero_data), mask)))


def _lut_to_dense_ios16(op: Any) -> WeightEncoding:
    shape = tuple(int(n) for n in op.shape.val)
    bits = len(op.lut.val).bit_length() - 1
    indices = torch.from_numpy(unpack_bits(op.indices.val, bits, int(np.prod(shape)))).reshape(shape)
    lut = encoding_of(op.lut).decode().reshape(*(1,) * len(shape), -1, 1)
    return Palettized(indices, Dense(lut), bits)


def _affine_dequantize(op: Any) -> WeightEncoding:
    data = _integers(op.quantized_data)
    scale, zero_point = np.ravel(op.scale.val), np.ravel(op.zero_point.val)
    count = max(len(scale), len(zero_point))
    shape = [1] * data.ndim
    shape[int(op.axis.val)] = count
    scales = torch.from_numpy(np.array(np.broadcast_to(scale, count), np.float32)).reshape(shape)
    offsets = torch.from_numpy(np.broadcast_to(zero_point, count).astype(data.numpy().dtype)).reshape(shape)
    return Affine(data, scales, offsets if bool(offsets.any()) else None)


def _cast(op: Any) -> WeightEncoding:
    return Dense(_floats(op.source_val))


_READERS: dict[tuple[str, bool], Callable[[Any], WeightEncoding]] = {
    ("const", False): _const,
    ("constexpr_cast", False): _cast,
    ("constexpr_blockwise_shift_scale", False): _shift_scale,
    ("constexpr_lut_to_dense", False): _lut_to_dense,
    ("constexpr_sparse_to_dense", False): _sparse_to_dense,
    ("constexpr_affine_dequantize", False): _affine_dequantize,
    ("constexpr_lut_to_dense", True): _lut_to_dense_ios16,
    ("constexpr_sparse_to_dense", True): _sparse_to_dense_ios16,
}


def value_of(encoding: WeightEncoding, var: Any) -> Tensor:
    """Return the float32 values that the program computes for a constant, rounded as its operations round."""
    return package_value(encoding, rounding_of(var))
