"""Attach quantizers to a torch model, where they are submodules, and take them off again."""

from collections.abc import Iterable, Mapping

from torch import nn

from corepress.targets.torch.activations.call_graph import Point, Site
from corepress.targets.torch.activations.frames import modes_on
from corepress.targets.torch.activations.quantizing import QuantizingMode

CHILD = "activation_quantizers"
"""The submodule of a module that holds the quantizers of the calls that it makes."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def attach(
    model: nn.Module, owner: str, groups: Mapping[tuple[Point, ...], nn.Module], recorded: Iterable[Site]
) -> None:
    """Apply quantizers in a model from now on, each at its points, and make them submodules of it."""
    quantizers = {point: quantizer for points, quantizer in groups.items() for point in points}
    QuantizingMode(owner, quantizers, recorded).install(model)
    _keep_all(model, quantizers)


def quantizing_modes(model: nn.Module) -> list[QuantizingMode]:
    """Return everything that quantizes activations of a model."""
    return [mode for mode in modes_on(model) if isinstance(mode, QuantizingMode)]


def adopt(model: nn.Module, mode: QuantizingMode) -> None:
    """Apply the quantizers of a copy of a model in the model itself."""
    groups: dict[int, list[Point]] = {}
    for point, quantizer in mode.quantizers.items():
        groups.setdefault(id(quantizer), []).append(point)
    found = {tuple(points): mode.quantizers[points[0]] for points in groups.values()}
    attach(model, mode.owner, found, mode.recorded)


def attached(model: nn.Module, owner: str) -> QuantizingMode | None:
    """Return what applies the quantizers of an owner in a model, or in a copy of it; None where nothing does."""
    return next((mode for mode in quantizing_modes(model) if mode.owner == owner), None)


def replace(model: nn.Module, owner: str, quantizers: Mapping[Point, nn.Module]) -> None:
    """Apply other quantizers in the place of those of an owner."""
    mode = attached(model, owner)
    assert mode is not None
    _forget(model, mode.quantizers.values())
    mode.replace(quantizers)
    _keep_all(model, quantizers)


def detach(model: nn.Module, owner: str) -> None:
    """Take the quantizers of an owner off a model."""
    mode = attached(model, owner)
    if mode is not None:
        _forget(model, mode.quantizers.values())
        mode.uninstall(model)


def _keep_all(model: nn.Module, quantizers: Mapping[Point, nn.Module]) -> None:
    """Make every quantizer a submodule, under the name of the first of its points."""
    kept: set[int] = set()
    for point, quantizer in quantizers.items():
        if id(quantizer) not in kept:
            kept.add(id(quantizer))
            _keep(model, point, quantizer)


def _keep(model: nn.Module, point: Point, quantizer: nn.Module) -> None:
    caller = model.get_submodule(point.site.module)
    home = _home(model, point.site.module)
    if not hasattr(home, CHILD):
        setattr(home, CHILD, nn.ModuleDict())
    name = str(point if home is not caller else Point(Site("", *_call(point)), point.role, point.index))
    getattr(home, CHILD)[name.replace(".", "_").replace(":", "_")] = quantizer


def _call(point: Point) -> tuple[str, int]:
    return point.site.kind, point.site.ordinal


def _home(model: nn.Module, path: str) -> nn.Module:
    """Return the module that gets the quantizers of a caller as a submodule: no container, which calls all it has."""
    names = path.split(".") if path else []
    upward = [model.get_submodule(".".join(names[:length])) for length in range(len(names), -1, -1)]
    return next(module for module in (*upward, *upward[0].modules()) if not isinstance(module, _CONTAINERS))


def _forget(model: nn.Module, quantizers: Iterable[nn.Module]) -> None:
    gone = {id(quantizer) for quantizer in quantizers}
    for module in list(model.modules()):
        held = getattr(module, CHILD, None)
        if not isinstance(held, nn.ModuleDict):
            continue
        for name in [name for name, quantizer in held.items() if id(quantizer) in gone]:
            del held[name]
        if not held:
            delattr(module, CHILD)
