"""The operations whose activations can be quantized, as data: what they read, and by which rule they are placed."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import attrs
from torch import Tensor, nn

from corepress.calibration.nested import Path, leaves

Role = Literal["layer", "lookup", "binary", "attention", "normalization", "activation", "shared", "moved", "float"]
"""What an operation is to the placement of quantizers.

`layer`: a weighted layer. `lookup`: a table that is read by integers. `binary`: arithmetic of two activations.
`attention`: a whole attention. `normalization`: batch normalization. `activation`: an activation function. `shared`: it
computes values in the range of its inputs, and shares their quantizers. `moved`: it only moves values, or drops some;
they stay quantized. `float`: everything else.
"""

ALL = ("*",)
"""Every tensor among the arguments is an activation."""


@attrs.frozen
class Operation:
    """One operation: its kind, its role, and the names of the arguments that are activations, by position.

    An argument without a name, "", is none.
    """

    kind: str
    role: Role
    inputs: tuple[str, ...] = ("input",)
    fixed_range: tuple[float, float] | None = None

    def activations(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[tuple[Path, Tensor]]:
        """Yield the tensors among the arguments that are activations, each with its path in `(args, kwargs)`."""
        for where, arguments in enumerate((enumerate(args), kwargs.items())):
            for argument, given in arguments:
                if not self._is_input(argument):
                    continue
                # Most arguments are tensors themselves.
                found = [((where, argument), given)] if isinstance(given, Tensor) else leaves(given, (where, argument))
                yield from ((path, leaf) for path, leaf in found if isinstance(leaf, Tensor))

    def _is_input(self, argument: Any) -> bool:
        """Tell whether an argument, by its position or its name, is an activation."""
        if self.inputs is ALL:
            return True
        return any(self.inputs[argument : argument + 1]) if isinstance(argument, int) else argument in self.inputs


_RANKS = (1, 2, 3)
_CONVOLUTIONS = [f"conv{transposed}{rank}d" for transposed in ("", "_transpose") for rank in _RANKS]
_POOLS = [f"{kind}_pool{rank}d" for kind in ("max", "avg", "adaptive_max", "adaptive_avg") for rank in _RANKS]
_FUNCTIONS = """
    relu prelu rrelu relu6 leaky_relu logsigmoid hardsigmoid silu elu celu selu glu mish gelu hardtanh log_softmax
    hardswish exp2
"""
_MOVES = """
    view reshape unflatten transpose permute movedim squeeze unsqueeze expand contiguous clone detach getitem chunk
    split unbind narrow select tensor_split dropout dropout1d dropout2d dropout3d alpha_dropout
"""
_QUERY_KEY_VALUE = ("query", "key", "value")

_ALL = [
    *(Operation(kind, "layer") for kind in ("linear", *_CONVOLUTIONS)),
    # A linear layer of the transformers package: bias, input and weight.
    Operation("addmm", "layer", ("", "mat1")),
    *(Operation(kind, "lookup", ()) for kind in ("embedding", "embedding_bag")),
    *(Operation(kind, "binary", ("input", "other")) for kind in ("add", "sub", "mul")),
    Operation("matmul", "binary", ("input", "other", "mat2", "tensor1")),
    Operation("einsum", "binary", ALL),
    Operation("multi_head_attention_forward", "attention", _QUERY_KEY_VALUE),
    Operation("batch_norm", "normalization"),
    *(Operation(kind, "activation") for kind in _FUNCTIONS.split()),
    *(Operation(kind, "activation", fixed_range=(0.0, 1.0)) for kind in ("sigmoid", "softmax")),
    Operation("tanh", "activation", fixed_range=(-1.0, 1.0)),
    *(Operation(kind, "shared") for kind in (*_POOLS, "mean", "flatten")),
    Operation("cat", "shared", ("tensors",)),
    *(Operation(kind, "moved") for kind in _MOVES.split()),
    *(Operation(kind, "float") for kind in ("layer_norm", "rms_norm", "group_norm", "instance_norm")),
    *(Operation(kind, "float") for kind in ("lstm", "gru", "rnn_tanh", "rnn_relu")),
    Operation("scaled_dot_product_attention", "float", _QUERY_KEY_VALUE),
]
OPERATIONS = {operation.kind: operation for operation in _ALL}

_WITH_INDICES = [f"{kind}_pool{rank}d" for kind in ("max", "adaptive_max") for rank in _RANKS]
_OTHER_NAMES = {
    "bmm": "matmul",
    "mm": "matmul",
    "concat": "cat",
    "concatenate": "cat",
    "hstack": "cat",
    "log_sigmoid": "logsigmoid",
    "rsub": "sub",
    "subtract": "sub",
    "multiply": "mul",
    "swapaxes": "transpose",
    "t": "transpose",
    "T": "transpose",
    "mT": "transpose",
    "hardtanh_": "hardtanh",
} | {
    f"{kind}_pool{rank}d_with_indices": f"{kind}_pool{rank}d" for kind in ("max", "adaptive_max") for rank in (1, 2, 3)
}


def is_activation(tensor: Tensor) -> bool:
    """Return whether a tensor may be quantized: floating-point numbers along at least one axis."""
    return tensor.is_floating_point() and tensor.ndim > 0


_kinds: dict[Callable[..., Any], str | None] = {}


def kind_of(function: Callable[..., Any]) -> str | None:
    """Return the kind of the operation that a torch function or method computes, in place or not; None for none.

    The kind of a function that is no known operation is its name; what only looks a tensor up has none.
    """
    if function not in _kinds:
        _kinds[function] = _named(function)
    return _kinds[function]


def operation_of(kind: str) -> Operation:
    """Return the operation of a kind; an unknown one is computed in float."""
    return OPERATIONS.get(kind) or Operation(kind, "float", ALL)


def _named(function: Callable[..., Any]) -> str | None:
    name: str = getattr(function, "__name__", "")
    if name == "__get__":
        name = getattr(getattr(function, "__self__", None), "__name__", "")
        return _OTHER_NAMES.get(name)
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        name = name[1:] if name[:1] in "ri" and name[1:] in OPERATIONS else name
    if name not in OPERATIONS and name.endswith("_"):
        name = name.rstrip("_")
    return _OTHER_NAMES.get(name, name) or None


_NEVER_NEGATIVE = {"relu", "relu6"}


def is_non_negative(kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Return whether a call computes no negative values, as a rectifier does."""
    if kind == "hardtanh":
        lowest = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
        return bool(lowest >= 0)
    return kind in _NEVER_NEGATIVE


_SOFTMAX = (nn.Softmax, nn.LogSoftmax)


def is_float(kind: str, module: nn.Module) -> bool:
    """Return whether a call is computed in float although others of its kind are not: a softmax that is no module."""
    return kind in ("softmax", "log_softmax") and not isinstance(module, _SOFTMAX)
