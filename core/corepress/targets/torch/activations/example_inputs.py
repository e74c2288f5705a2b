"""Example inputs of a torch model, as users give them."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from corepress.calibration.nested import leaves
from corepress.errors import PlanError

_NO_INPUTS = (str, bytes, int, float, bool, type(None))


@attrs.frozen(eq=False)
class Inputs:
    """The arguments of one call of a model."""

    positional: tuple[Any, ...]
    keywords: Mapping[str, Any]

    @property
    def all(self) -> tuple[Any, ...]:
        """All arguments."""
        return (self.positional, self.keywords)

    def run(self, model: nn.Module) -> Any:
        """Call a model; the error of one that does not take the inputs says what they were."""
        try:
            return model(*self.positional, **self.keywords)
        except Exception as error:
            raise PlanError(
                f"the model fails on the example inputs ({self.describe()}): {type(error).__name__}: {error}"
            ) from error

    def describe(self) -> str:
        """Return the shapes of the inputs."""
        named = [("", value) for value in self.positional] + [(f"{name}=", v) for name, v in self.keywords.items()]
        return ", ".join(f"{name}{_described(value)}" for name, value in named) or "none"


def arguments_of(model: nn.Module, example_inputs: Any) -> Inputs:
    """Return example inputs as arguments.

    A tensor is the only argument, a tuple or list are the positional ones, a mapping the keyword ones; a list or tuple
    of integers is the shape of a tensor, whose values are then uniform between 0 and 1.

    Raises:
        PlanError: it is none of these.
    """
    if isinstance(example_inputs, Tensor):
        return Inputs((example_inputs,), {})
    if isinstance(example_inputs, Mapping):
        return Inputs((), dict(example_inputs))
    if isinstance(example_inputs, Sequence) and not isinstance(example_inputs, str | bytes) and example_inputs:
        if all(isinstance(length, int) and not isinstance(length, bool) for length in example_inputs):
            return Inputs((_drawn(model, example_inputs),), {})
        return Inputs(tuple(example_inputs), {})
    raise PlanError(
        "example_inputs must be a tensor, a tuple of tensors, a dict of tensors or a shape, not "
        f"{_described(example_inputs)}"
    )


def _drawn(model: nn.Module, shape: Sequence[int]) -> Tensor:
    if min(shape) < 1:
        raise PlanError(f"example_inputs: {list(shape)} is no shape: every length must be at least 1")
    values = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))
    beside = next((p for p in model.parameters() if p.is_floating_point()), values)
    return values.to(beside.device, beside.dtype)


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping | tuple | list):
        return f"{type(value).__name__} of {len(list(leaves(value)))}"
    return repr(value) if isinstance(value, _NO_INPUTS) else f"a {type(value).__name__}"
