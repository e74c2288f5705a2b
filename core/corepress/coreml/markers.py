"""Markers: operations that keep a weight's place in the program through conversion.

The converter builds a constant operation for every parameter that carries compression metadata, and neither folds nor
transposes it. A marker asks for plain 8-bit data with a scale that no other weight has: the scale, which survives
renaming and the cast to half precision, tells afterwards whose place it is.
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

_FIRST_CODE, _LAST_CODE = 0x0400, 0x7BFF  # the bit patterns of the positive normal numbers of float16
_MARKER_OPS = {"constexpr_blockwise_shift_scale", "constexpr_affine_dequantize"}


@attrs.frozen(eq=False)
class Marked:
    """A compressed weight: its name, all names of the tied parameter, and its encoding."""

    name: str
    names: tuple[str, ...]
    encoding: WeightEncoding


def marked_copy(model: nn.Module, weights: Iterable[Marked]) -> tuple[nn.Module, Mapping[int, Marked]]:
    """Return a copy of the model for tracing, in eval mode, and the weight of each marker code.

    The copy shares the parameters (float32 on the CPU; others are converted) and has no compression metadata but the
    markers.
    """
    shared = {id(parameter): _for_tracing(parameter) for parameter in model.parameters()}
    clone = copy.deepcopy(model, memo=dict(shared)).eval()
    for module in clone.modules():
        buffers = {name: value for name, value in module._buffers.items() if not name.startswith(PREFIX)}
        module._buffers = {name: _single(value) for name, value in buffers.items()}
    codes = dict(enumerate(weights, start=_FIRST_CODE))
    if len(codes) > _LAST_CODE - _FIRST_CODE + 1:
        raise ExportError(
            f"{len(codes)} compressed weights are more than one program can hold; convert parts of the model"
        )
    for code, weight in codes.items():
        for name in weight.names:
            _mark(clone, name, code, len(weight.encoding.shape))
    return clone, codes


def marked_weight(op: Any, codes: Mapping[int, Marked]) -> Marked | None:
    """Return the weight whose marker the operation is, None when it is no marker."""
    if op.op_type not in _MARKER_OPS or op.scale.val is None:
        return None
    weight = codes.get(int(np.float16(np.ravel(op.scale.val)[0]).view(np.uint16)))
    is_marker = weight is not None and weight.encoding.shape == tuple(op.outputs[0].shape)
    return weight if is_marker else None


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
    scale = np.array(code, np.uint16).view(np.float16).astype(np.float32)
    buffers = model.get_submodule(owner)._buffers
    fields = {
        "compression_type": torch.tensor([3]),
        "quantization_n_bits": torch.tensor(8),
        "quantization_scale": torch.full((1,) * rank, float(scale)),
    }
    buffers.update({f"{PREFIX}/{parameter}/{field}": value for field, value in fields.items()})
