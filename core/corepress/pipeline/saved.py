"""The state of a run in training: taken, and checked as a whole before any of it is restored."""

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import ActivationQuantizer, Simulator
from corepress.config.suggestions import some_names
from corepress.errors import ConfigError, StateError
from corepress.pipeline.provenance import plugin_versions
from corepress.pipeline.recipe import Recipe, read_recipe
from corepress.pipeline.report import some_of
from corepress.targets.transaction import undoing
from corepress.warn import warn_user

Members = Mapping[str, Sequence[Simulator | ActivationQuantizer]]
"""The simulators of each weight and the quantizer of each activation, by name."""

SimulatorStates = Mapping[str, Mapping[str, Mapping[str, Tensor]]]
"""The tensors of simulators by weight name, by stage, and by their own names."""

_ENTRIES = ("format", "recipe", "plugins", "steps", "simulators")


def require_entries(state: object, version: int, recipe: Recipe) -> None:
    """Refuse what is no state of a run of this recipe; warn of one that other versions of plugins saved.

    Recipes are compared after they were read: an option that was added since has its default in an older one.

    Raises:
        StateError: naming the entry that is missing or wrong.
    """
    if not isinstance(state, Mapping):
        raise StateError(f"the state is of type {type(state).__name__}; pass what state_dict() returned")
    if state.get("format") != version:
        raise StateError(f"the state has format {state.get('format')!r}; this corepress reads format {version}")
    if missing := [entry for entry in _ENTRIES if entry not in state]:
        raise StateError(f"the state has no {' and no '.join(map(repr, missing))}; pass what state_dict() returned")
    if not _is_recipe(state["recipe"], recipe):
        raise StateError(
            "the state was saved by another recipe; restore that one with "
            "Pipeline.from_yaml(io.StringIO(state['recipe']))"
        )
    steps = state["steps"]
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 0:
        raise StateError(f"the state has {steps!r} as 'steps'; it must be the number of steps, an integer from 0")
    plugins = plugin_versions(recipe.stages)
    if state["plugins"] != plugins:
        warn_user(
            f"the state was saved with {_listed(state['plugins'])}, and these are {_listed(plugins)}; "
            "training may go on differently"
        )


def _is_recipe(text: object, recipe: Recipe) -> bool:
    if not isinstance(text, str):
        return False
    try:
        return read_recipe(io.StringIO(text)).as_dict() == recipe.of_the_model.as_dict()
    except ConfigError:
        return False


def _listed(plugins: object) -> str:
    if not isinstance(plugins, Mapping):
        return repr(plugins)
    return ", ".join(f"{name} of {made}" for name, made in plugins.items()) or "no plugins"


def states_of(members: Members) -> SimulatorStates:
    """Return copies of the tensors of all members."""
    return {
        name: {_key(member): {k: v.clone() for k, v in member.state_dict().items()} for member in chain}
        for name, chain in members.items()
    }


def restore(members: Members, state: Any) -> None:
    """Give all members the tensors of a saved state, or none when it does not fit.

    Raises:
        StateError: naming the weights or the entries.
    """
    before = states_of(members)
    require_fitting(before, state)
    each = {(name, _key(member)): member for name, chain in members.items() for member in chain}
    with undoing(
        [(f"{name}, {key}", partial(member.load_state_dict, before[name][key])) for (name, key), member in each.items()]
    ):
        for (name, key), member in each.items():
            try:
                member.load_state_dict(state[name][key])
            except Exception as error:
                raise StateError(f"the state does not fit this run; {name}, {key}: {error}") from error


def _key(member: Simulator | ActivationQuantizer) -> str:
    return "kept zeros" if member.stage is None else f"stage {member.stage + 1}"


def require_fitting(mine: SimulatorStates, state: object) -> None:
    """Refuse a state of other simulators.

    Raises:
        StateError: naming the weights, or the entries where the state is that of the same weights.
    """
    misfits = {_named(path): reason for path, reason in _misfits(mine, state, ())}
    if not misfits:
        return
    if isinstance(state, Mapping) and state.keys() != mine.keys():
        names = sorted({str(path[0]) for path, _ in _misfits(mine, state, ())})
        raise StateError(f"the state was saved for another model; it does not fit {some_names(names)}")
    raise StateError(f"the state does not fit this run; {some_of(misfits)}")


def _misfits(mine: Any, given: object, path: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], str]]:
    if isinstance(mine, Tensor):
        if reason := _misfit(mine, given):
            yield path, reason
    elif not isinstance(given, Mapping):
        yield path, f"is of type {type(given).__name__}, not a mapping"
    else:
        for key in dict.fromkeys((*mine, *given)):
            if key not in given:
                yield (*path, key), "is missing"
            elif key not in mine:
                yield (*path, key), "is not part of this run"
            else:
                yield from _misfits(mine[key], given[key], (*path, key))


def _misfit(mine: Tensor, given: object) -> str | None:
    """Return why a value cannot take the place of a tensor, or None."""
    if not isinstance(given, Tensor):
        return f"is of type {type(given).__name__}, not a tensor"
    if given.shape != mine.shape:
        return f"has shape {tuple(given.shape)}, not {tuple(mine.shape)}"
    if given.dtype != mine.dtype:
        return f"has dtype {given.dtype}, not {mine.dtype}"
    if given.is_meta or given.layout is not torch.strided:
        return "has no values in memory"
    return None


def _named(path: tuple[object, ...]) -> str:
    return ", ".join(map(str, path)) or "'simulators'"
