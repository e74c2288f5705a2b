"""Exactness: the storage whose package value is the torch value, rounded once to the package's precision."""

from collections.abc import Callable, Iterator

import attrs
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding, portable_scale
from corepress.encoding.masking import masked
from corepress.errors import ExportError
from corepress.targets import support
from corepress.targets.deployment import DeploymentTarget

Rounding = Callable[[Tensor], Tensor]
_NOT_IN_IOS16 = 3
_SAFE = 2.0**15  # no float16 product below it overflows
_TORCH_DTYPES = {np.dtype(np.float16): torch.float16, np.dtype(np.float32): torch.float32}


def rounding_to(dtype: npt.DTypeLike) -> Rounding:
    """Return the function that rounds float32 values to the precision `dtype` (float16 or float32), kept in float32."""
    torch_dtype = _TORCH_DTYPES[np.dtype(dtype)]
    return lambda values: values.detach().to(torch_dtype).to(torch.float32)


def stored(encoding: WeightEncoding, rounded: Rounding) -> WeightEncoding:
    """Return the encoding with every float that a package stores rounded to its precision."""
    match encoding:
        case Dense():
            return Dense(rounded(encoding.values))
        case Sparse():
            return attrs.evolve(encoding, payload=stored(encoding.payload, rounded))
        case Affine():
            return attrs.evolve(encoding, scale=rounded(encoding.scale))
        case Palettized():
            scale = None if encoding.scale is None else rounded(encoding.scale)
            return attrs.evolve(encoding, lut=stored(encoding.lut, rounded), scale=scale)
    return encoding


def package_value(encoding: WeightEncoding, rounded: Rounding) -> Tensor:
    """Return what a package's chain of operations yields: like `decode`, but every operation rounds its result."""
    match encoding:
        case Sparse(payload=Dense()):
            return rounded(encoding.decode())
        case Sparse():
            return masked(package_value(encoding.payload, rounded), encoding.mask)
        case Palettized():
            lut = Dense(package_value(encoding.lut, rounded))
            looked_up = attrs.evolve(encoding, lut=lut, scale=None).decode()
            return looked_up if encoding.scale is None else rounded(torch.mul(looked_up, encoding.scale))
    return rounded(encoding.decode())


def exact_storage(encoding: WeightEncoding, rounded: Rounding, target: DeploymentTarget) -> WeightEncoding:
    """Return the first storage of the weight, rounded, that is exact in the package.

    That is the encoding as it is, with two exceptions. The per-channel scale of a palette is multiplied into its
    tables, because devices do not load a scale over looked-up values. Where rounding in two steps would show, because
    float16 scales underflow for tiny weights, the scales are multiplied into tables, whose entries are rounded once.

    Raises ExportError, without the weight's name, when the target holds no exact storage or when values overflow.
    """
    support.check(encoding.form, target)
    if _rounds_once(encoding, as_is := stored(encoding, rounded)) and _has_operations(encoding, target):
        return as_is
    wanted = rounded(encoding.decode())
    if not _is_finite(wanted):
        raise ExportError("its values overflow float16; convert with compute_precision=coremltools.precision.FLOAT32")
    for candidate in _candidates(encoding):
        if support.minimum_target(candidate.form) > target or not _has_operations(candidate, target):
            continue
        storage = stored(candidate, rounded)
        if torch.equal(package_value(storage, rounded), wanted):
            return storage
    raise ExportError(
        f"its scales are too small for float16 to hold {encoding.form.describe()} exactly; "
        "convert with compute_precision=coremltools.precision.FLOAT32"
    )


def _rounds_once(encoding: WeightEncoding, storage: WeightEncoding) -> bool:
    """Tell, from tables and scales alone, that a storage is exact; False where only the values can tell."""
    match encoding, storage:
        case Sparse(), Sparse():
            return _rounds_once(encoding.payload, storage.payload)
        case Dense(), Dense():
            return _is_finite(storage.values)
        case Palettized(scale=None, lut=Dense()), Palettized():
            return _is_finite(storage.lut.decode())
        case Affine(), Affine():
            largest = float(storage.scale.abs().max()) * 2**encoding.n_bits if encoding.scale.numel() else 0.0
            return torch.equal(encoding.scale, storage.scale) and largest < _SAFE
    return False


def fitted(encoding: WeightEncoding) -> WeightEncoding:
    """Return an encoding whose integers are fitted to scales that half precision holds; nothing else is changed."""
    match encoding:
        case Sparse():
            payload = fitted(encoding.payload)
            return encoding if payload is encoding.payload else attrs.evolve(encoding, payload=payload)
        case Palettized(lut=Affine() as lut, scale=None):
            return attrs.evolve(encoding, lut=fitted(lut))
        case Affine():
            return encoding.with_scale(portable_scale(encoding.scale, tiny=True))
    return encoding


def widened(palette: Palettized) -> Palettized:
    """Return a palette of 3 bits as one of 4, whose further entries are zeros: iOS16 has no indices of 3 bits."""
    if palette.n_bits != _NOT_IN_IOS16 or not isinstance(palette.lut, Dense):
        return palette
    more = 2 ** (palette.n_bits + 1) - 2**palette.n_bits
    lut = Dense(torch.nn.functional.pad(palette.lut.values, (0, 0, 0, more)))
    return attrs.evolve(palette, lut=lut, n_bits=palette.n_bits + 1)


def _is_finite(values: Tensor) -> bool:
    return not values.numel() or all(bool(torch.isfinite(bound)) for bound in torch.aminmax(values))


def _has_operations(encoding: WeightEncoding, target: DeploymentTarget) -> bool:
    """Tell whether there are operations for the scales of a table: after a look-up, entries have none of their own."""
    if not (isinstance(encoding, Palettized) and isinstance(encoding.lut, Affine)):
        return True
    return not support.scales_after_look_up(target) or encoding.lut.scale.shape[-2:] == (1, 1)


def _candidates(encoding: WeightEncoding) -> Iterator[WeightEncoding]:
    if isinstance(encoding, Sparse):
        yield from (attrs.evolve(encoding, payload=payload) for payload in _candidates(encoding.payload))
        return
    if isinstance(encoding, Palettized):
        # Devices do not load a scale over looked-up values: it is always multiplied into the tables.
        yield encoding.folded()
        yield attrs.evolve(encoding, lut=Dense(encoding.lut.decode())).folded()
        return
    yield encoding
    if isinstance(encoding, Affine):
        yield _palette_of(encoding)


def _palette_of(affine: Affine) -> Palettized:
    """Return a palette with a dequantized table for each scale."""
    low, high = affine.bounds
    integers = torch.arange(low, high + 1, dtype=torch.float32)
    steps = integers if affine.zero_point is None else integers - affine.zero_point.to(torch.float32)[..., None]
    indices = (affine.data.to(torch.int16) - low).to(torch.uint8)
    return Palettized(indices, Dense((steps * affine.scale[..., None])[..., None]), affine.n_bits)
