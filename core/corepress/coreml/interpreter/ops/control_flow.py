"""Control flow: operations with blocks, which come as functions from the inputs to the outputs of each block."""

from collections.abc import Callable
from typing import Any

from corepress.coreml.interpreter.arguments import Tensors
from corepress.coreml.interpreter.handlers import computes

BlockCall = Callable[..., tuple[Any, ...]]


@computes("cond", exact=True)
def cond(pred: bool, blocks: tuple[BlockCall, BlockCall]) -> tuple[Any, ...]:
    return blocks[0 if pred else 1]()


@computes("while_loop", exact=True)
def while_loop(loop_vars: Tensors, blocks: tuple[BlockCall, BlockCall]) -> tuple[Any, ...]:
    condition, body = blocks
    values: tuple[Any, ...] = loop_vars
    while bool(condition(*values)[0]):
        values = body(*values)
    return values
