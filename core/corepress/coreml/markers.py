"""Markers: operations that keep a weight's place in the program through conversion.

The converter builds a constant operation for every parameter that carries compression metadata, and neither folds nor
transposes it. A marker asks for plain 8-bit data with a scale that no other weight has: the scale, which survives
renaming and the cast to half precision, tells afterwards whose place it is.

Where the converter computes with a parameter (it reorders the gates of an LSTM, and takes those of a GRU apart), a
marker would be in its way. It gets plain values instead, every part of the parameter another one: those of a constant
tell which parts it holds, and in which order.
"""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from corepress.encoding import WeightEncoding
from corepress.errors import ExportError
from corepress.targets.torch.metadata import PREFIX

# The bit patterns of positive numbers of float16 that are so far apart that no pass takes one for another: passes merge
# constants that differ by less than 6e-8.
_FIRST_CODE, _LAST_CODE = 0x0800, 0x7BFF
_MARKER_OPS = {"constexpr_blockwise_shift_scale", "constexpr_affine_dequantize"}


@attrs.frozen(eq=False)
class Marked:
    """A compressed weight: its name, all names of the tied parameter, its encoding, and the kind of its module.

    Where `parts` is not 0, packages may hold as many equal parts along `axis` in another order, or apart.
    """

    name: str
    names: tuple[str, ...]
    encoding: WeightEncoding
    axis: int = 0
    parts: int = 0
    kind: str = ""

    @property
    def part_length(self) -> int:
        """The length of a part."""
        return self.encoding.shape[self.axis] // self.parts


@attrs.frozen(eq=False)
class Held:
    """What a constant of a program stands for: a compressed weight, or `order`, the parts of it that it holds."""

    weight: Marked
    order: tuple[int, ...] | None = None

    @property
    def encoding(self) -> WeightEncoding:
        """The encoding that takes the place of the constant."""
        weight = self.weight
        if self.order is None:
            return weight.encoding
        try:
            return weight.encoding.taken(weight.axis, positions(self.order, weight.part_length))
        except (ValueError, NotImplementedError) as error:
            raise ExportError(
                f"{weight.name}: the package holds its parts in the order {self.order}: {error}"
            ) from error


Codes = Mapping[int, tuple[Marked, int]]
"""The weight of each marker code, and the part of it."""


def positions(order: Iterable[int], length: int) -> Tensor:
    """Return the positions of parts of a length, in an order."""
    return torch.cat([torch.arange(part * length, (part + 1) * length) for part in order])


def marked_copy(model: nn.Module, weights: Iterable[Marked]) -> tuple[nn.Module, Codes]:
    """Return a copy of the model for tracing, in eval mode, and what each marker code stands for.

    The copy shares the parameters (float32 on the CPU; others are converted) and has no compression metadata but the
    markers.
    """
    shared = {id(parameter): _for_tracing(parameter) for parameter in model.parameters()}
    clone = copy.deepcopy(model, memo=dict(shared)).eval()
    for module in clone.modules():
        buffers = {name: value for name, value in module._buffers.items() if not name.startswith(PREFIX)}
        module._buffers = {name: _single(value) for name, value in buffers.items()}
    marked = [(weight, part) for weight in weights for part in range(weight.parts or 1)]
    codes = dict(enumerate(marked, start=_FIRST_CODE))
    if len(codes) > _LAST_CODE - _FIRST_CODE + 1:
        raise ExportError(
            f"{len(codes)} compressed weights are more than one program can hold; convert parts of the model"
        )
    for code, (weight, part) in codes.items():
        for name in weight.names if part == 0 else ():
            _make_parameter(clone, name)
            if weight.parts:
                _fill(clone, name, weight, code)
            else:
                _mark(clone, name, code, len(weight.encoding.shape))
    return clone, codes


def held_by(op: Any, codes: Codes) -> Held | None:
    """Return which weight the operation stands for, None when it is no marker."""
    if op.op_type == "const":
        return _parts_held(op.outputs[0].val, codes)
    if op.op_type not in _MARKER_OPS or op.scale.val is None:
        return None
    weight, _ = codes.get(_code(np.ravel(op.scale.val)[0]), (None, 0))
    is_marker = weight is not None and not weight.parts and weight.encoding.shape == tuple(op.outputs[0].shape)
    return Held(weight) if weight is not None and is_marker else None


def _parts_held(values: Any, codes: Codes) -> Held | None:
    if not isinstance(values, np.ndarray) or not values.size or values.dtype.kind != "f":
        return None
    weight, _ = codes.get(_code(values.flat[0]), (None, 0))
    if weight is None or not weight.parts or values.ndim != len(weight.encoding.shape):
        return None
    rows = np.moveaxis(values, weight.axis, 0)
    others = [n for axis, n in enumerate(weight.encoding.shape) if axis != weight.axis]
    if len(rows) % weight.part_length or list(rows.shape[1:]) != others:
        return None
    parts = rows.reshape(len(rows) // weight.part_length, -1)
    found = [codes.get(_code(first), (None, 0)) for first in parts[:, 0]]
    if any(owner is not weight for owner, _ in found) or not (parts == parts[:, :1]).all():
        return None
    return Held(weight, tuple(part for _, part in found))


def _code(value: Any) -> int:
    with np.errstate(over="ignore"):
        return int(np.float16(value).view(np.uint16))


def _value(code: int) -> float:
    return float(np.array(code, np.uint16).view(np.float16))


def _make_parameter(model: nn.Module, name: str) -> None:
    """Let a weight that is a plain tensor of its module have a name in the traced graph."""
    owner, _, parameter = name.rpartition(".")
    module = model.get_submodule(owner)
    if parameter in vars(module):
        values = _single(vars(module).pop(parameter))
        assert values is not None
        module.register_parameter(parameter, nn.Parameter(values, requires_grad=False))


def _fill(model: nn.Module, name: str, weight: Marked, first_code: int) -> None:
    owner, _, parameter = name.rpartition(".")
    parts = torch.tensor([_value(first_code + part) for part in range(weight.parts)]).repeat_interleave(
        weight.part_length
    )
    shape = weight.encoding.shape
    along = [-1 if axis == weight.axis else 1 for axis in range(len(shape))]
    filled = nn.Parameter(parts.reshape(along).expand(shape).contiguous(), requires_grad=False)
    model.get_submodule(owner)._parameters[parameter] = filled


def _for_tracing(parameter: nn.Parameter) -> nn.Parameter:
    values = _single(parameter.detach())
    if values is None or values.data_ptr() == parameter.data_ptr():
        return parameter
    return nn.Parameter(values, requires_grad=False)


def _single(values: Tensor | None) -> Tensor | None:
    if values is None:
        return None
    return values.to("cpu", torch.float32) if values.is_floating_point() else values.to("cpu")


def _mark(model: nn.Module, name: str, code: int, rank: int) -> None:
    owner, _, parameter = name.rpartition(".")
    buffers = model.get_submodule(owner)._buffers
    fields = {
        "compression_type": torch.tensor([3]),
        "quantization_n_bits": torch.tensor(8),
        "quantization_scale": torch.full((1,) * rank, _value(code)),
    }
    buffers.update({f"{PREFIX}/{parameter}/{field}": value for field, value in fields.items()})
