"""All or nothing: a model that was being changed when something failed is as it was before."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch

from corepress.algorithm import Simulator
from corepress.encoding import WeightEncoding
from corepress.targets import metadata, simulation
from corepress.targets.base import Weight
from corepress.targets.torch_weights import TorchWeight


@contextmanager
def all_or_nothing(weights: Iterable[TorchWeight], *, values: bool = True) -> Iterator[None]:
    """Restore values (unless off), metadata and simulators of the weights when the `with` block raises."""
    watched = list(weights)
    before = [
        (
            weight.parameter.detach().clone() if values else None,
            [metadata.snapshot(place.module, place.parameter) for place in weight.places],
            simulation.simulators(weight),
        )
        for weight in watched
    ]
    try:
        yield
    except BaseException:
        for weight, (old_values, buffers, chain) in zip(watched, before, strict=True):
            _restore_chain(weight, chain)
            if old_values is not None:
                with torch.no_grad():
                    weight.parameter.copy_(old_values)
            for place, state in zip(weight.places, buffers, strict=True):
                metadata.reinstate(place.module, place.parameter, state)
        raise


def write_all(weights: Mapping[str, Weight], encodings: Mapping[str, WeightEncoding]) -> None:
    """Write encodings by weight name, or none of them when one fails."""
    touched = {name: weight for name, weight in weights.items() if isinstance(weight, TorchWeight)}
    with all_or_nothing(touched.values()):
        for name, encoding in encodings.items():
            touched[name].write(encoding)


def _restore_chain(weight: TorchWeight, chain: list[Simulator]) -> None:
    now = simulation.simulators(weight)
    if added := [member for member in now if member not in chain]:
        simulation.detach(weight, added)
    for member in chain:
        if member not in now:
            simulation.attach(weight, member)
