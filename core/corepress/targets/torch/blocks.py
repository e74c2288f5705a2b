"""The blocks of a torch model that are calibrated one after another."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs
from torch import nn

from corepress.config.suggestions import did_you_mean
from corepress.errors import PlanError
from corepress.targets.torch.weights import TorchWeight

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


@attrs.frozen(eq=False)
class Block:
    """A module of the model and the weights that belong to nothing else."""

    name: str
    module: nn.Module
    weights: tuple[TorchWeight, ...] = ()


def chosen_blocks(model: nn.Module, patterns: Sequence[str] | None, weights: Sequence[TorchWeight]) -> list[Block]:
    """Return the blocks whose names match, in the order of the model; blocks inside of others are part of those.

    By default they are the children of the model, or of its only child where that is a list of modules. Lists of
    modules, which are never called, stand for the modules in them.

    Raises:
        PlanError: a pattern matches no module, or is no regular expression.
    """
    found = _by_default("", model) if patterns is None else _matching(model, patterns)
    inside: dict[str, set[int]] = {}
    modules: dict[str, nn.Module] = {}
    taken: set[int] = set()
    for name, module in found:
        if id(module) not in taken:
            modules[name] = module
            inside[name] = {id(inner) for inner in module.modules()}
            taken |= inside[name]
    return [
        Block(name, module, tuple(weight for weight in weights if _homes(weight, inside) == [name]))
        for name, module in modules.items()
    ]


def _homes(weight: TorchWeight, inside: Mapping[str, Collection[int]]) -> list[str]:
    """Return the blocks that use a weight, and "" where something outside of them does."""
    users = {id(module) for module in weight.modules}
    homes = [name for name, modules in inside.items() if not users.isdisjoint(modules)]
    return homes if users <= set().union(*(inside[name] for name in homes)) else ["", *homes]


def _by_default(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    children = list(module.named_children())
    if not children:
        yield name, module
        return
    for child_name, child in children:
        full = f"{name}.{child_name}" if name else child_name
        is_only_list = len(children) == 1 and isinstance(child, nn.Sequential)
        if child is not None and (isinstance(child, _CONTAINERS) or is_only_list):
            yield from _by_default(full, child)
        else:
            yield full, child


def _matching(model: nn.Module, patterns: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    modules = {name: module for name, module in model.named_modules() if name}
    wanted: set[str] = set()
    problems = []
    for pattern in patterns:
        names = _matched(pattern, modules)
        wanted |= names
        if not names:
            problems.append(f"{pattern!r} matches no module{did_you_mean(pattern, modules, 3)}")
    if problems:
        raise PlanError("calibration, blocks: " + "; ".join(problems))
    for name, module in modules.items():
        if name not in wanted:
            continue
        yield from _by_default(name, module) if isinstance(module, _CONTAINERS) else ((name, module),)


def _matched(pattern: str, names: Collection[str]) -> set[str]:
    if pattern in names:
        return {pattern}
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise PlanError(f"calibration, blocks: {pattern!r} is no regular expression: {error}") from error
    return {name for name in names if compiled.fullmatch(name)}
