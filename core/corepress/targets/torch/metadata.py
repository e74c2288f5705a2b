"""The metadata buffers of compressed torch modules: the protocol that Core ML's converter reads.

Buffers are called `_COREML_/<parameter>/<field>` and live on the module that owns the parameter. Together with the
parameter's values they hold the whole encoding: `read` gives back what `write` was given, in its canonical form.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding
from corepress.encoding.affine import spread
from corepress.errors import StateError
from corepress.targets.lookup import nearest_entries

FindEntries = Callable[[Tensor, Tensor, int | None], Tensor]
"""Takes a weight, its look-up tables and their vector axis, and returns the indices of the weight's entries."""

PREFIX = "_COREML_"
VERSION_BUFFER = f"{PREFIX}/metadata_version"
PRUNING, PALETTIZATION, QUANTIZATION = 1, 2, 3
_OPAQUE = "_corepress_encodings"
OWN = "_COREPRESS_OWN_"
"""Begins the names of buffers that hold the kind of a plugin's own encoding; no converter reads them."""
PROVENANCE = "_corepress_provenance"
"""The attribute of a compressed model that holds its provenance, a mapping of strings."""


def mark_version(model: nn.Module) -> None:
    """Register the version of the protocol on the root of a model."""
    model.register_buffer(VERSION_BUFFER, torch.tensor(1))


def buffer_names(module: nn.Module, parameter: str) -> list[str]:
    """Return the names of the metadata buffers of one parameter."""
    prefix, own = f"{PREFIX}/{parameter}/", f"{OWN}/{parameter}"
    return [name for name, _ in module.named_buffers(recurse=False) if name.startswith(prefix) or name == own]


def parameter_of(buffer: str) -> str | None:
    """Return the parameter that a metadata buffer describes; None for the version, which describes the model."""
    return buffer.removeprefix(f"{PREFIX}/").rpartition("/")[0] or None


def described(module: nn.Module) -> list[str]:
    """Return the parameters of a module that have metadata buffers."""
    mine = (name for name, _ in module.named_buffers(recurse=False) if name.startswith(f"{PREFIX}/"))
    return list(dict.fromkeys(filter(None, map(parameter_of, mine))))


def clear(module: nn.Module, parameter: str) -> None:
    """Remove the metadata of one parameter."""
    for name in buffer_names(module, parameter):
        delattr(module, name)
    getattr(module, _OPAQUE, {}).pop(parameter, None)


def clear_all(module: nn.Module) -> None:
    """Remove the metadata of a module: of its own parameters, and the version if it is a root."""
    for name, _ in list(module.named_buffers(recurse=False)):
        if name.startswith((f"{PREFIX}/", f"{OWN}/")):
            delattr(module, name)
    vars(module).pop(_OPAQUE, None)


def write(module: nn.Module, parameter: str, encoding: WeightEncoding, weight: Tensor) -> None:
    """Register the buffers of an encoding beside its `weight`, replacing what was there.

    Tables and per-channel scales take the weight's dtype where it holds them exactly.
    """
    clear(module, parameter)
    fields = _fields(encoding, weight.dtype)
    if fields is None:
        # An encoding of a plugin's own has no place in the protocol; it travels with the module object. A state dict
        # holds its kind, so that it is not lost without a word.
        _opaque_encodings(module)[parameter] = encoding
        kind = torch.tensor(list(encoding.kind.encode()), dtype=torch.uint8)
        module.register_buffer(f"{OWN}/{parameter}", kind.to(weight.device))
        return
    for field, value in fields.items():
        module.register_buffer(f"{PREFIX}/{parameter}/{field}", value.to(weight.device))


def _opaque_encodings(module: nn.Module) -> dict[str, WeightEncoding]:
    found: dict[str, WeightEncoding] = vars(module).setdefault(_OPAQUE, {})
    return found


def _fields(encoding: WeightEncoding, dtype: torch.dtype) -> dict[str, Tensor] | None:
    if isinstance(encoding, Dense):
        return {}
    types: list[int] = []
    fields: dict[str, Tensor] = {}
    if isinstance(encoding, Sparse):
        types.append(PRUNING)
        encoding = encoding.payload
    if isinstance(encoding, Palettized):
        types.append(PALETTIZATION)
        fields["lut"] = _as_weight(encoding.lut.decode(), dtype)
        if encoding.vector_axis is not None and encoding.cluster_dim > 1:
            fields["vector_axis"] = torch.tensor(encoding.vector_axis)
        if encoding.scale is not None:
            fields["palettization_scale"] = _as_weight(encoding.scale, dtype)
        if isinstance(encoding.lut, Affine):
            fields |= _affine_fields(encoding.lut)
            # Elsewhere the stock converter fails on an integer LUT; it is shown a float LUT of equal values instead.
            if types == [PALETTIZATION] and encoding.scale is None and encoding.cluster_dim == 1:
                types.append(QUANTIZATION)
    elif isinstance(encoding, Affine):
        types.append(QUANTIZATION)
        fields |= _affine_fields(encoding)
    elif not isinstance(encoding, Dense):
        return None
    return {"compression_type": torch.tensor(types), **fields}


def _as_weight(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return values in the weight's dtype, or unchanged where that would lose something."""
    converted = values.to(dtype)
    return converted if torch.equal(converted.to(values.dtype), values) else values.clone()


def _affine_fields(affine: Affine) -> dict[str, Tensor]:
    affine = affine.canonical()
    fields = {"quantization_n_bits": torch.tensor(affine.n_bits), "quantization_scale": affine.scale.clone()}
    if affine.zero_point is not None:
        fields["zero_point"] = affine.zero_point.clone()
    return fields


def read(module: nn.Module, parameter: str, values: Tensor, name: str) -> WeightEncoding:
    """Return the encoding of a parameter from its buffers and values.

    Raises:
        StateError: the values are no longer those that the buffers describe, because they were changed afterwards.
    """
    opaque = getattr(module, _OPAQUE, {}).get(parameter)
    if opaque is not None:
        return _checked(opaque, values, name)
    try:
        encoding = _described(module, parameter, values.to(torch.float32), nearest_entries)
    except Exception as error:
        raise StateError(
            f"{name}: its values do not fit its '_COREML_' buffers ({type(error).__name__}: {error}); "
            "compress the model again, or remove the buffers"
        ) from error
    return encoding if isinstance(encoding, Dense) else _checked(encoding, values, name)


def require_sound(module: nn.Module, parameter: str, values: Tensor, name: str) -> None:
    """Refuse buffers that cannot describe a weight of this shape, whatever its values.

    Raises:
        StateError: naming the weight.
    """
    try:
        _described(module, parameter, torch.zeros(()).expand(values.shape), _first_entries)
    except Exception as error:
        raise StateError(
            f"{name}: its '_COREML_' buffers describe no weight of shape {tuple(values.shape)} "
            f"({type(error).__name__}: {error})"
        ) from error


def _described(module: nn.Module, parameter: str, weight: Tensor, entries: FindEntries) -> WeightEncoding:
    """Return the encoding that the buffers of a parameter describe, which finds `entries` by the weight's values."""
    prefix = f"{PREFIX}/{parameter}/"
    fields = {n.removeprefix(prefix): getattr(module, n).cpu() for n in buffer_names(module, parameter)}
    if not fields:
        return Dense(weight)
    if "compression_type" not in fields:
        raise ValueError(f"{', '.join(map(repr, sorted(fields)))} without 'compression_type'")
    types = fields["compression_type"].tolist()
    if unknown := set(types) - {PRUNING, PALETTIZATION, QUANTIZATION}:
        raise ValueError(f"unknown compression_type {', '.join(map(str, unknown))}")
    encoding: WeightEncoding
    if PALETTIZATION in types:
        encoding = _palettized(fields, weight, entries)
    elif QUANTIZATION in types:
        encoding = _affine(fields, weight)
    else:
        encoding = Dense(weight)
    if PRUNING in types:
        encoding = Sparse(weight != 0, encoding)
    return encoding


def _first_entries(weight: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    """Return the indices of the first entries, which say nothing about the values."""
    shape = list(weight.shape)
    if vector_axis is not None:
        shape[vector_axis] //= lut.shape[-1]
    return torch.zeros(shape, dtype=torch.uint8, device=weight.device)


def _checked(encoding: WeightEncoding, values: Tensor, name: str) -> WeightEncoding:
    if values.dtype is torch.float64:
        # An encoding holds float32; what it leaves as it was may be more precise.
        values = values.to(torch.float32)
    if not torch.equal(encoding.decode().to(values.dtype), values):
        raise StateError(
            f"{name}: its values were changed after it was compressed ({encoding.form.describe()}); "
            "compress the model again, or remove its '_COREML_' buffers"
        )
    return encoding


def _palettized(fields: dict[str, Tensor], weight: Tensor, entries: FindEntries) -> Palettized:
    lut_values = fields["lut"].to(torch.float32)
    lut: WeightEncoding = Dense(lut_values)
    if "quantization_scale" in fields:
        lut = _affine(fields, lut_values)
    scale = fields.get("palettization_scale")
    scale = None if scale is None else scale.to(torch.float32)
    vector_axis = int(fields["vector_axis"]) if "vector_axis" in fields else None
    unscaled = weight if scale is None else weight / scale.where(scale != 0, 1.0)
    indices = entries(unscaled, lut_values, vector_axis)
    return Palettized(indices, lut, int(lut_values.shape[-2]).bit_length() - 1, vector_axis, scale)


def _affine(fields: dict[str, Tensor], values: Tensor) -> Affine:
    shape = tuple(values.shape)
    scale = fields["quantization_scale"].to(torch.float32)
    steps = values / spread(scale.where(scale != 0, 1.0), shape)
    zero_point = fields.get("zero_point")
    if zero_point is not None:
        steps = steps + spread(zero_point.to(torch.float32), shape)
    unsigned = zero_point is not None and zero_point.dtype is torch.uint8
    data = steps.round().to(torch.uint8 if unsigned else torch.int8)
    return Affine(data, scale, zero_point, int(fields["quantization_n_bits"]))


Snapshot = tuple[dict[str, Tensor], WeightEncoding | None]


def snapshot(module: nn.Module, parameter: str) -> Snapshot:
    """Return the metadata of one parameter, for `reinstate`."""
    buffers = {name: getattr(module, name) for name in buffer_names(module, parameter)}
    return buffers, getattr(module, _OPAQUE, {}).get(parameter)


def reinstate(module: nn.Module, parameter: str, state: Snapshot) -> None:
    """Bring back the metadata that `snapshot` saw."""
    clear(module, parameter)
    buffers, opaque = state
    for name, value in buffers.items():
        module.register_buffer(name, value)
    if opaque is not None:
        _opaque_encodings(module)[parameter] = opaque


def snapshot_all(module: nn.Module) -> tuple[dict[str, Tensor | None], dict[str, WeightEncoding]]:
    """Return the buffers of a module and the encodings that travel with it, for `reinstate_all`."""
    return dict(module._buffers), dict(getattr(module, _OPAQUE, {}))


def reinstate_all(module: nn.Module, state: tuple[dict[str, Tensor | None], dict[str, WeightEncoding]]) -> None:
    """Bring back what `snapshot_all` saw, in the same order."""
    clear_all(module)
    buffers, opaque = state
    module._buffers.clear()
    module._buffers.update(buffers)
    if opaque:
        _opaque_encodings(module).update(opaque)
