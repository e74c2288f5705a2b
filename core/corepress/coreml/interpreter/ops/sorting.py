"""Sorting; equal values keep their order."""

from torch import Tensor

from corepress.coreml.interpreter.handlers import computes


@computes("argsort", exact=True)
def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    return x.argsort(dim=axis, descending=not ascending, stable=True)


@computes("topk", exact=True, ignored=("sort", "output_indices_dtype"))
def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    return_indices: bool = True,
) -> tuple[Tensor, ...]:
    ordered = x.sort(dim=axis, descending=not ascending, stable=True)
    count = x.shape[axis] if k == -1 else k
    values, indices = ordered.values.narrow(axis, 0, count), ordered.indices.narrow(axis, 0, count)
    return (values, indices) if return_indices else (values,)
