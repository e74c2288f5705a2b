"""Attach simulators to the weights of a torch model, in canonical order, and take them off again."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from corepress.algorithm import Simulator
from corepress.encoding import Dense, WeightEncoding, keeps_promise, slot_for
from corepress.encoding.host import on_host
from corepress.errors import PluginError, StateError, WeightError
from corepress.targets.torch import metadata
from corepress.targets.torch.weights import Place, TorchWeight

M = TypeVar("M", bound=nn.Module)


def attach(weight: TorchWeight, simulator: Simulator) -> None:
    """Put a simulator on a weight; sparsity comes before palettes and quantization, whatever came first.

    Tied parameters share the simulator. Metadata is dropped: training will change the values it describes.
    """
    for place in _distinct(weight):
        _attach(place, simulator)


def in_order(members: Iterable[M]) -> list[M]:
    """Return parametrizations of one weight in the order in which they are applied."""
    return sorted(members, key=_rank)


def simulators(weight: TorchWeight, owner: str | None = None) -> list[Simulator]:
    """Return the simulators on a weight, of one owner or of all, in the order in which they are applied."""
    return [
        member for member in _chain(weight.places[0]) if isinstance(member, Simulator) and owner in (None, member.owner)
    ]


def step(weight: TorchWeight, owner: str) -> None:
    """Advance the simulators of one owner, and show each the weight that it now sees."""
    with torch.no_grad():
        for member, seen in _walk(weight):
            if isinstance(member, Simulator) and member.owner == owner:
                member.step()
                if member.inner is not None:
                    member.inner.step()
                _refresh(member, seen, weight.name)


def refresh(weight: TorchWeight, owner: str) -> None:
    """Show the simulators of one owner the weight that they see."""
    with torch.no_grad():
        for member, seen in _walk(weight):
            if isinstance(member, Simulator) and member.owner == owner:
                _refresh(member, seen, weight.name)


def _refresh(simulator: Simulator, seen: Tensor, name: str) -> None:
    try:
        simulator.refresh(seen)
    except WeightError as error:
        raise WeightError(f"{name}: {error}") from error


def encoded(weight: TorchWeight, mine: Sequence[Simulator]) -> WeightEncoding:
    """Return the encoding that the given simulators make of the trained weight.

    Simulators of other runs that come before are applied to the values; those that come after are left for later.
    """
    now = weight.encoding()
    last = max((position for position, m in enumerate(_chain(weight.places[0])) if m in mine), default=-1)
    with torch.no_grad():
        for member in list(_chain(weight.places[0]))[: last + 1]:
            if member in mine:
                assert isinstance(member, Simulator)
                now = _composed(now, member, weight.parameter.device)
                if member.inner is not None:
                    now = _composed(now, member.inner, weight.parameter.device)
            else:
                now = Dense(member(now.decode().to(weight.parameter.device)).cpu())
    return now


def _composed(now: WeightEncoding, simulator: Simulator, device: torch.device) -> WeightEncoding:
    slot = slot_for(now, simulator.produces)
    made = simulator.encode(slot.values.to(device))
    if not isinstance(made, WeightEncoding) or not keeps_promise(made.kind, simulator.produces):
        raise PluginError(
            f"{type(simulator).__name__}: it declares {simulator.produces!r}, and encode made "
            f"{made.form.describe() if isinstance(made, WeightEncoding) else type(made).__name__}"
        )
    return slot.rebuild(on_host(made))


def detach(weight: TorchWeight, mine: Sequence[Simulator]) -> None:
    """Take the given simulators off a weight; the stored parameter stays the same object, in the same position."""
    for place in _distinct(weight):
        _detach(place, mine)


Snapshot = list[tuple[Simulator, bool]]


def snapshot(weight: TorchWeight) -> Snapshot:
    """Return the simulators on a weight, each with its `after_sparsity`, for `reinstate`."""
    return [(member, member.after_sparsity) for member in simulators(weight)]


def reinstate(weight: TorchWeight, state: Snapshot) -> None:
    """Bring back the simulators that `snapshot` saw, also where only some of the places were changed since."""
    before = [member for member, _ in state]
    for place in _distinct(weight):
        now = list(_chain(place))
        _detach(place, [member for member in now if isinstance(member, Simulator) and member not in before])
        for member in before:
            if member not in now:
                _attach(place, member)
    for member, after_sparsity in state:
        member.after_sparsity = after_sparsity


def _attach(place: Place, simulator: Simulator) -> None:
    metadata.clear(place.module, place.parameter)
    _register(place, simulator)
    chain = _chain(place)
    for position, member in enumerate(in_order(chain)):
        chain[position] = member
    _tell_of_sparsity(chain)


def _register(place: Place, simulator: Simulator) -> None:
    """Make a simulator the last parametrization of a parameter, which keeps its position in the module.

    torch takes the parameter out of the module and appends it again in the end. An optimizer's state goes by position,
    so that an empty entry waits for it here.
    """
    module, name = place.module, place.parameter
    entries: dict[str, Any] = module._buffers if name in module._buffers else module._parameters
    order = list(entries)
    parametrize.register_parametrization(module, name, simulator, unsafe=True)
    # torch has given the module a class of its own, which refuses to be pickled without a way out.
    type(module).__getstate__ = _refuse_to_be_saved  # type: ignore[method-assign]
    entries[name] = None
    for each in order:
        entries[each] = entries.pop(each)


def _refuse_to_be_saved(_: nn.Module) -> NoReturn:
    raise StateError(
        "a model in training cannot be saved as a whole; save its state_dict() and that of the pipeline, and load both "
        "after prepare() of the same model"
    )


def _detach(place: Place, mine: Sequence[Simulator]) -> None:
    chain = _chain(place)
    kept = [member for member in chain if member not in mine]
    if len(kept) == len(chain):
        return
    if not kept:
        _give_own_class(place.module)
        parametrize.remove_parametrizations(place.module, place.parameter, leave_parametrized=False)
        return
    del chain[len(kept) :]
    for position, member in enumerate(kept):
        chain[position] = member
    _tell_of_sparsity(chain)


def _tell_of_sparsity(chain: Iterable[nn.Module]) -> None:
    """Tell every simulator whether one before it prunes, or has pruned before it was finalized."""
    pruned = False
    for member in chain:
        if isinstance(member, Simulator):
            member.after_sparsity |= pruned
            pruned |= member.produces == "sparsity"


def _give_own_class(module: nn.Module) -> None:
    """Undo the sharing of a parametrized class.

    A deep copy of a parametrized module shares its generated class with the original, and torch takes the
    parametrized attribute off that class when it is removed from either of them.
    """
    shared = type(module)
    module.__class__ = type(shared.__name__, shared.__bases__, dict(vars(shared)))


def _distinct(weight: TorchWeight) -> list[Place]:
    return list({(id(place.module), place.parameter): place for place in weight.places}.values())


def _chain(place: Place) -> nn.ModuleList:
    if not parametrize.is_parametrized(place.module, place.parameter):
        return nn.ModuleList()
    chain = place.module.parametrizations[place.parameter]  # type: ignore[index,union-attr]
    assert isinstance(chain, nn.ModuleList)
    return chain


def _walk(weight: TorchWeight) -> Iterator[tuple[nn.Module, Tensor]]:
    seen = weight.tensor
    before: nn.Module | None = None
    for member in _chain(weight.places[0]):
        seen = seen if before is None else before(seen)
        yield member, seen
        before = member


def _rank(member: nn.Module) -> int:
    order = Simulator.CANONICAL_ORDER
    return order.index(member.produces) if isinstance(member, Simulator) else -1
