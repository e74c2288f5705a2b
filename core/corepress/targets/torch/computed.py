"""Weights that hooks of `torch.nn.utils` compute before each forward pass, and how to make them parameters again."""

from torch import nn


def hooks_on(module: nn.Module) -> tuple[str, ...]:
    """Return the class names of what may compute weights of a module."""
    return tuple(dict.fromkeys(type(hook).__name__ for hook in module._forward_pre_hooks.values()))


def way_out(module: nn.Module, name: str) -> str | None:
    """Return the function that makes a computed weight a parameter again; None for a weight that no hook computes."""
    if f"{name}_g" in module._parameters:
        return f"torch.nn.utils.remove_weight_norm(module, {name!r})"
    if f"{name}_mask" in module._buffers:
        return f"torch.nn.utils.prune.remove(module, {name!r})"
    return f"torch.nn.utils.remove_spectral_norm(module, {name!r})" if f"{name}_orig" in module._parameters else None
