"""Which parameters of a module are weights, and how: by its kind, or by what they look like where it has none."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

import attrs
from torch import Tensor, nn
from torch.nn.utils import parametrize

from corepress.plugin import ModuleKind, WeightLayout
from corepress.targets.torch.computed import way_out
from corepress.targets.torch.kinds import Kinds, full_name, kind_of, provider_of

_CONVOLUTION = re.compile(r"conv(_transpose)?([123])d")


@attrs.frozen
class Described:
    """A parameter of a module: the kind of the module, the layout, and why the layout cannot be right, or None."""

    parameter: str
    kind: ModuleKind
    layout: WeightLayout
    fault: str | None = None


def described(module: nn.Module, kinds: Kinds) -> Iterator[Described]:
    """Yield the parameters of a module that are weights of its kind, then its other parameters of rank 2 and more.

    Of these, the stacked weights of experts (mixtures of experts as transformers write them) are weights like any
    other. The rest (position embeddings, routers) is incidental: only rules about it reach it.
    """
    kind = kind_of(module, kinds)
    covered = set()
    for layout in kind.weights if kind else ():
        for parameter in _matching(module, layout.parameter):
            covered.add(parameter)
            assert kind is not None
            yield _checked(module, parameter, kind, layout, provider_of(kind, kinds))
    for parameter, stored in _stored_parameters(module):
        bias = kind is not None and parameter == "bias"
        if stored.ndim > 1 and parameter not in covered and not bias and not _computed_from(module, parameter):
            yield _by_looks(module, parameter, stored)


def _matching(module: nn.Module, pattern: str) -> list[str]:
    if "*" not in pattern:
        return [pattern] if has(module, pattern) else []
    # Of what a hook computes a weight from, the weight itself is meant.
    names = (_computed_from(module, name) or name for name, _ in _stored_parameters(module))
    return [name for name in dict.fromkeys(names) if fnmatchcase(name, pattern)]


def _computed_from(module: nn.Module, parameter: str) -> str | None:
    """Return the name of the weight that a hook on the module computes from the parameter, if one does."""
    stem, _, ending = parameter.rpartition("_")
    return stem if ending in ("g", "v", "orig") and way_out(module, stem) is not None else None


def has(module: nn.Module, parameter: str) -> bool:
    """Tell whether a module has a tensor of that name, also a parametrized one."""
    # Getting a parametrized attribute computes it, which can be slow.
    return parametrize.is_parametrized(module, parameter) or isinstance(getattr(module, parameter, None), Tensor)


def _stored_parameters(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the own parameters of a module by name, and the largest original of each parametrized one."""
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield name, parameter
    if parametrize.is_parametrized(module):
        for name, group in module.parametrizations.items():  # type: ignore[operator,union-attr]
            originals = [value for key, value in group.named_parameters(recurse=False) if key.startswith("original")]
            if originals:
                yield name, max(originals, key=Tensor.numel)


def _by_looks(module: nn.Module, parameter: str, stored: Tensor) -> Described:
    kind, layout = "parameter", WeightLayout(parameter=parameter, incidental=True)
    if type(module).__name__.endswith("Experts") and stored.ndim == 3:
        # (experts, outputs, inputs), or with inputs in front of outputs where the class says so.
        outputs, inputs = (2, 1) if getattr(module, "is_transposed", False) else (1, 2)
        kind = "experts"
        layout = WeightLayout(parameter=parameter, output_axis=outputs, input_axis=inputs, stack_axis=0)
    return Described(parameter, ModuleKind(module=full_name(type(module)), kind=kind, weights=(layout,)), layout)


def _checked(
    module: nn.Module, parameter: str, kind: ModuleKind, layout: WeightLayout, provider: str | None
) -> Described:
    """Describe a parameter by a layout, or by a plain one and a fault where it has other axes than the layout says."""
    stored = dict(_stored_parameters(module)).get(parameter)
    shape = tuple((getattr(module, parameter) if stored is None else stored).shape)
    fault = _fault(shape, kind, layout)
    if fault is None:
        return Described(parameter, kind, layout)
    by = f" of plugin {provider}" if provider else ""
    reason = f"the module kind {kind.kind!r}{by} says that {fault}, but its shape is {shape}"
    plain = WeightLayout(parameter=parameter, incidental=layout.incidental)
    return Described(parameter, attrs.evolve(kind, kind="parameter"), plain, reason)


def _fault(shape: tuple[int, ...], kind: ModuleKind, layout: WeightLayout) -> str | None:
    """Return what a layout says that is not so, or None."""
    rank = len(shape)
    convolution = _CONVOLUTION.fullmatch(kind.kind)
    if convolution and rank != int(convolution[2]) + 2:
        return f"it has {int(convolution[2]) + 2} axes"
    if rank == 0:
        return None
    if layout.output_axis >= rank:
        return f"axis {layout.output_axis} holds its output channels"
    if rank > 1 and layout.input_axis >= rank:
        return f"axis {layout.input_axis} holds its input channels"
    if rank > 1 and layout.output_axis == layout.input_axis:
        return f"axis {layout.output_axis} holds both its output and its input channels"
    stack = layout.stack_axis
    if stack is not None and (stack >= rank or stack in (layout.output_axis, layout.input_axis)):
        return f"axis {stack} holds weights of their own"
    if layout.stacked > 1 and rank != 2:
        return f"it holds {layout.stacked} stacked weights of two axes"
    for what, count in (("stacked weights", layout.stacked), ("parts", layout.parts)):
        if count > 1 and shape[layout.output_axis] % count:
            return f"it has {count} {what} along axis {layout.output_axis}"
    return None
