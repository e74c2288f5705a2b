"""Listen to the modules of a torch model, and show statistics the inputs of the layers that own a weight."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from corepress.algorithm import LayerInput
from corepress.calibration.sharing import Sharing
from corepress.targets.geometry import Channels, Positions, Windows
from corepress.targets.inputs import Nothing, Numbers, Stacked, Tokens
from corepress.targets.torch import recurrent

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
See = Callable[[LayerInput, nn.Module, tuple[Any, ...] | None], None]
"""Gets the input of a layer, and the module and its inputs as they are; None for a module that is never called."""

_CONVOLUTION = ("kernel_size", "stride", "dilation", "padding", "padding_mode", "groups")
_MODES = {"zeros": "constant"}
_READ_BY = {"in_proj_weight": ("query", "key", "value"), "q_proj_weight": "query"} | {
    "k_proj_weight": "key",
    "v_proj_weight": "value",
}


def layer_input(module: nn.Module, kind: str, parameter: str, arguments: Arguments, sharing: Sharing) -> LayerInput:
    """Return what a module of a kind reads by a parameter, when it is called with positional and keyword arguments."""
    if kind == "attention":
        return _attention_input(parameter, arguments, sharing)
    if kind in recurrent.LAYERS:
        return recurrent.recurrent_input(module, parameter, _bound(nn.GRU, arguments), sharing)
    if kind in recurrent.CELLS:
        return recurrent.cell_input(parameter, _bound(nn.GRUCell, arguments), sharing)
    positional, keywords = arguments
    given = positional[0] if positional else keywords.get("input", next(iter(keywords.values()), None))
    if not isinstance(given, Tensor):
        return Nothing()
    if kind == "embedding":
        return Tokens(given)
    if kind == "linear":
        return Numbers(given, Positions(), sharing)
    if kind.startswith("conv") and not all(hasattr(module, name) for name in _CONVOLUTION):
        # A plugin may call any module a convolution.
        return Nothing()
    if kind.startswith("conv_transpose"):
        return Numbers(given, Channels(len(_kernel(module)), module.groups), sharing)  # type: ignore[arg-type]
    if kind.startswith("conv"):
        return Numbers(given, windows_of(module), sharing)
    return Nothing()


def windows_of(module: nn.Module) -> Windows:
    """Return the windows of a convolution."""
    kernel, dilation = _kernel(module), _tuple(module.dilation)
    return Windows(
        kernel,
        _tuple(module.stride),
        dilation,
        _pads(module.padding, kernel, dilation),
        module.groups,  # type: ignore[arg-type]
        _MODES.get(str(module.padding_mode), str(module.padding_mode)),
    )


def _kernel(module: nn.Module) -> tuple[int, ...]:
    return _tuple(module.kernel_size)


def _tuple(value: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in value)


def _pads(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    if padding == "valid":
        return tuple((0, 0) for _ in kernel)
    if padding == "same":
        totals = [(k - 1) * step for k, step in zip(kernel, dilation, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((n, n) for n in _tuple(padding))


def _attention_input(parameter: str, arguments: Arguments, sharing: Sharing) -> LayerInput:
    given = _bound(nn.MultiheadAttention, arguments)
    read = _READ_BY.get(parameter)
    if read is None:
        return Nothing()
    names = (read,) if isinstance(read, str) else read
    if not all(isinstance(given.get(name), Tensor) for name in names):
        return Nothing()
    parts = [Numbers(given[name], Positions(), sharing) for name in names]
    return parts[0] if isinstance(read, str) else Stacked(parts)


def _bound(module_class: type[nn.Module], arguments: Arguments) -> Mapping[str, Any]:
    """Return the arguments of a module by the names that its class gives them."""
    positional, keywords = arguments
    try:
        return inspect.signature(module_class.forward).bind(None, *positional, **keywords).arguments
    except TypeError:
        return {}


@contextmanager
def listening(
    module: nn.Module, kind: str, parameter: str, owner: nn.Module | None, sharing: Sharing, see: See
) -> Iterator[None]:
    """Show every input of a module while the `with` block runs.

    The output projection of an attention module (its `owner`) is never called: its input is computed once more.
    """
    with ExitStack() as hooks:

        def before(module: nn.Module, *arguments: Any) -> None:
            with torch.inference_mode(False), torch.no_grad():
                positional, keywords = arguments
                seen = layer_input(module, kind, parameter, (positional, keywords), sharing)
                see(seen, module, positional or tuple(keywords.values()))

        hooks.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
        if isinstance(owner, nn.MultiheadAttention) and module is owner.out_proj:
            hooks.enter_context(_listening_behind(owner, module, sharing, see))
        yield


@contextmanager
def _listening_behind(
    owner: nn.MultiheadAttention, projection: nn.Module, sharing: Sharing, see: See
) -> Iterator[None]:
    called: list[bool] = []

    def by_itself(*_: Any) -> None:
        called.append(True)

    def before(*_: Any) -> None:
        called.clear()

    def after(_module: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any], _output: Any) -> None:
        if called:
            return
        with torch.inference_mode(False), torch.no_grad():
            unprojected = partial(_unprojected, owner, (positional, keywords))
            seen = Numbers(unprojected, Positions(), sharing)
            see(seen, projection, None)

    with ExitStack() as hooks:
        hooks.callback(projection.register_forward_pre_hook(by_itself).remove)
        hooks.callback(owner.register_forward_pre_hook(before).remove)
        hooks.callback(owner.register_forward_hook(after, with_kwargs=True).remove)
        yield


def _unprojected(owner: nn.MultiheadAttention, arguments: Arguments) -> Tensor:
    """Return the output of an attention module in front of its output projection: that is an identity for once."""
    positional, keywords = arguments
    weight = owner.out_proj.weight
    replaced: dict[str, Tensor] = {
        "inner.out_proj.weight": torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
    }
    if owner.out_proj.bias is not None:
        replaced["inner.out_proj.bias"] = torch.zeros_like(owner.out_proj.bias)
    found = functional_call(_WithoutHooks(owner), replaced, positional, keywords)
    return found[0]  # type: ignore[no-any-return]


class _WithoutHooks(nn.Module):
    """Runs a module without its hooks, which have run in the call that is repeated."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *positional: Any, **keywords: Any) -> Any:
        return self.inner.forward(*positional, **keywords)
