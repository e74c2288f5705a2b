"""Functions of single elements, and of pairs of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from corepress.coreml.interpreter.handlers import BUILT_IN, Handler, computes
from corepress.coreml.interpreter.values import torch_dtype


def _unary(function: Callable[[Tensor], Tensor], *, exact: bool) -> Handler:
    def compute(x: Tensor) -> Tensor:
        return function(x)

    return Handler(compute, exact)


def _binary(function: Callable[[Tensor, Tensor], Tensor], *, exact: bool) -> Handler:
    def compute(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return Handler(compute, exact)


_UNARY = {
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}
_EXACT_UNARY = {
    "abs": torch.abs,
    "ceil": torch.ceil,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,
    "sign": torch.sign,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "mod": torch.remainder,
    "mul": torch.mul,
    "pow": torch.pow,
    "real_div": torch.true_divide,
    "sub": torch.sub,
}
_EXACT_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "equal": torch.eq,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "not_equal": torch.ne,
}

BUILT_IN.update({name: _unary(function, exact=False) for name, function in _UNARY.items()})
BUILT_IN.update({name: _unary(function, exact=True) for name, function in _EXACT_UNARY.items()})
BUILT_IN.update({name: _binary(function, exact=False) for name, function in _BINARY.items()})
BUILT_IN.update({name: _binary(function, exact=True) for name, function in _EXACT_BINARY.items()})


@computes("floor_div")
def floor_div(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


@computes("log")
def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    return torch.log(x + epsilon)


@computes("rsqrt")
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    return torch.rsqrt(x + epsilon)


@computes("inverse")
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    return torch.reciprocal(x + epsilon)


@computes("clip", exact=True)
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    return x.clamp(alpha, beta)


@computes("threshold", exact=True)
def threshold(x: Tensor, alpha: float) -> Tensor:
    return x.clamp(min=alpha)


@computes("cast")
def cast(x: Tensor, dtype: str) -> Tensor:
    kind = torch_dtype(dtype)
    return x if kind is None else x.to(kind)


@computes("select", exact=True)
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)


@computes("identity", exact=True)
def identity(x: Tensor) -> Tensor:
    return x
