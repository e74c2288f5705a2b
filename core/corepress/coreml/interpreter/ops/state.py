"""States."""

import attrs
from torch import Tensor

from corepress.coreml.interpreter.handlers import computes


@attrs.define
class State:
    """The value of a state while a program runs; tensors are replaced, never changed."""

    value: Tensor


@computes("read_state", exact=True)
def read_state(input: State) -> Tensor:  # noqa: A002
    return input.value


@computes("coreml_update_state", exact=True)
def coreml_update_state(state: State, value: Tensor) -> Tensor:
    state.value = value
    return value
