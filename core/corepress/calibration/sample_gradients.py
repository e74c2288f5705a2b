"""Gradients of the loss of each sample by itself, vectorised over the samples of a batch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from corepress.calibration.nested import rebuilt, tensors
from corepress.errors import PlanError

_AT_ONCE = 1 << 26


def sample_gradients(
    model: nn.Module, weights: Mapping[str, Tensor], batch: Any, loss_fn: Callable[[nn.Module, Any], Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Yield gradients of shape (samples, *weight) by weight name, a few samples of a batch at a time.

    `weights` are parameters of the model. `batch` is a tensor, or a tuple, list or dict that holds tensors, all with
    one row for each sample; `loss_fn` gets batches of one row. The model must work under `torch.func.vmap`.

    Raises:
        PlanError: the batch has no rows, or the loss is no single value.
    """
    loss = _Loss(model, loss_fn)
    stored = {id(tensor): name for name, tensor in (*loss.named_buffers(), *loss.named_parameters())}
    names = {stored[id(parameter)]: weight for weight, parameter in weights.items()}
    values = {name: weights[weight].detach() for name, weight in names.items()}
    rows = _rows_of(batch)

    def of_sample(values: dict[str, Tensor], sample: list[Tensor]) -> Tensor:
        found = functional_call(loss, values, (_with(batch, sample),))
        if not isinstance(found, Tensor) or found.numel() != 1:
            raise PlanError(f"loss_fn must return a tensor of one value, not {found!r}")
        return found.reshape(())

    differentiate = vmap(grad(of_sample), in_dims=(None, 0), randomness="different")
    most = max(_AT_ONCE // max(sum(value.numel() for value in values.values()), 1), 1)
    for start in range(0, len(rows[0]), most):
        try:
            # No graph beyond that of torch.func.grad; and the other kernels of attention would loop over the samples.
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                found = differentiate(values, [tensor[start : start + most].unsqueeze(1) for tensor in rows])
        except RuntimeError as error:
            error.add_note("while gradients were taken sample by sample; those of whole batches need less of a model")
            raise
        yield {names[name]: gradients for name, gradients in found.items()}


class _Loss(nn.Module):
    """The model and its loss as one module, so that weights can be exchanged inside the model itself."""

    def __init__(self, model: nn.Module, loss_fn: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, batch: Any) -> Tensor:
        return self.loss_fn(self.model, batch)


def _rows_of(batch: Any) -> list[Tensor]:
    rows = list(tensors(batch))
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in rows}
    if len(lengths) != 1 or lengths == {0}:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in rows) or "none"
        raise PlanError(
            f"the tensors of a batch need one row for each sample, and their shapes are {shapes}; "
            "pass such batches, or use gradients of whole batches"
        )
    return rows


def _with(batch: Any, sample: list[Tensor]) -> Any:
    """Return the batch with the tensors of a sample in place of its own."""
    mine = iter(sample)
    return rebuilt(batch, lambda _, leaf: next(mine) if isinstance(leaf, Tensor) else leaf)
