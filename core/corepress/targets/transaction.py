"""All or nothing: a model that was being changed when something failed is as it was before."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from corepress.encoding.memory import write_back
from corepress.targets.torch import metadata, simulation
from corepress.targets.torch.weights import TorchWeight

Undo = tuple[str, Callable[[], None]]
"""What is restored, for messages, and how."""


@contextmanager
def undoing(steps: Sequence[Undo]) -> Iterator[None]:
    """Take every step when the `with` block raises; a step that fails is noted, and the others are taken."""
    try:
        yield
    except BaseException as error:
        for name, restore in steps:
            try:
                restore()
            except BaseException as failure:
                error.add_note(f"{name} could not be restored: {type(failure).__name__}: {failure}")
        raise


@contextmanager
def all_or_nothing(weights: Iterable[TorchWeight], *, values: bool = True) -> Iterator[None]:
    """Restore values (unless off), metadata and simulators of the weights when the `with` block raises."""
    with undoing([step for weight in weights for step in _steps(weight, values)]):
        yield


def take_all(
    pairs: Sequence[tuple[TorchWeight, TorchWeight]], biases: Sequence[tuple[TorchWeight, TorchWeight]] = ()
) -> None:
    """Give each weight the values and metadata of the second of its pair, or change none of them when one fails.

    The layers of the weights in `biases` take over the bias as well.

    The values of a pair are exchanged: the second weight keeps the old values until all pairs are done, so that undoing
    needs no further copy of the model.
    """
    values: list[Undo] = []
    with all_or_nothing([weight for weight, _ in pairs], values=False), undoing(values):
        for weight, other in pairs:
            before = weight.tensor.clone()
            values.append((f"{weight.name} (values)", partial(write_back, weight.tensor, before)))
            weight.take(other)
            write_back(other.tensor, before)
            values[-1] = values[-1][0], partial(write_back, weight.tensor, other.tensor)
        for weight, other in biases:
            bias, corrected = weight.bias, other.bias
            assert bias is not None
            assert corrected is not None
            values.append((f"{weight.name} (bias)", partial(write_back, bias, bias.detach().clone())))
            write_back(bias, corrected)


def _steps(weight: TorchWeight, values: bool) -> Iterator[Undo]:
    # Attaching a simulator drops metadata, so that metadata comes last.
    yield f"{weight.name} (simulators)", partial(simulation.reinstate, weight, simulation.snapshot(weight))
    if values:
        yield f"{weight.name} (values)", partial(write_back, weight.tensor, weight.tensor.clone())
    for place in weight.places:
        before = metadata.snapshot(place.module, place.parameter)
        yield f"{place.name} (metadata)", partial(metadata.reinstate, place.module, place.parameter, before)
