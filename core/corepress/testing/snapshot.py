"""Compare a model with itself before and after."""

from typing import Any

import attrs
from torch import Tensor, nn


@attrs.frozen(eq=False)
class Snapshot:
    """What a model looked like: tensors, their identities, modes, hooks and attributes of its modules."""

    model: nn.Module
    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    @classmethod
    def of(cls, model: nn.Module) -> "Snapshot":
        """Take a snapshot of a model."""
        return cls(model, {name: value.clone() for name, value in model.state_dict().items()}, _facts(model))

    def differences(self) -> list[str]:
        """Return the names of what has changed since."""
        now = self.model.state_dict()
        different = [name for name in {**self.tensors, **now} if not same(self.tensors.get(name), now.get(name))]
        facts = _facts(self.model)
        return different + [name for name in {**self.facts, **facts} if self.facts.get(name) != facts.get(name)]


def _facts(model: nn.Module) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, module in model.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        facts[f"attributes of module {name!r}"] = (type(module), module.training, hooks, sorted(vars(module)))
    for name, value in model.named_parameters(remove_duplicate=False):
        facts[f"parameter {name!r}"] = (id(value), value.requires_grad, value.grad is None)
    return facts


def same(left: Tensor | None, right: Tensor | None) -> bool:
    """Tell whether two tensors are equal in type, shape and every value."""
    if left is None or right is None:
        return left is right
    return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())


def different_tensors(left: nn.Module, right: nn.Module) -> list[str]:
    """Return the names of the tensors in which two models differ."""
    mine, theirs = left.state_dict(), right.state_dict()
    return [name for name in {**mine, **theirs} if not same(mine.get(name), theirs.get(name))]


def tied_names(model: nn.Module) -> set[frozenset[str]]:
    """Return the groups of names that stand for one parameter."""
    groups: dict[int, set[str]] = {}
    for name, value in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(value), set()).add(name)
    return {frozenset(names) for names in groups.values() if len(names) > 1}
