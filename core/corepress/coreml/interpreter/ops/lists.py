"""Lists of tensors of one shape, each a tensor with one more axis; writing makes a new list."""

import torch
from torch import Tensor

from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.values import torch_dtype


@computes("make_list", exact=True, ignored=("dynamic_length",))
def make_list(elem_shape: tuple[Tensor | str, ...], init_length: int = 1, dtype: str = "fp32") -> Tensor:
    # A length that is a name, such as that of a flexible batch, is known when something is written.
    lengths = (0 if isinstance(n, str) else int(n) for n in elem_shape)
    return torch.zeros(init_length, *lengths, dtype=torch_dtype(dtype))


@computes("list_length", exact=True)
def list_length(ls: Tensor) -> Tensor:
    return torch.tensor(ls.shape[0], dtype=torch.int32)


@computes("list_read", exact=True)
def list_read(ls: Tensor, index: int) -> Tensor:
    return ls[index]


@computes("list_gather", exact=True)
def list_gather(ls: Tensor, indices: Tensor) -> Tensor:
    return ls[indices.to(torch.int64)]


@computes("list_write", exact=True)
def list_write(ls: Tensor, index: int, value: Tensor) -> Tensor:
    return list_scatter(ls, torch.tensor([index]), value[None])


@computes("list_scatter", exact=True)
def list_scatter(ls: Tensor, indices: Tensor, value: Tensor) -> Tensor:
    places = indices.to(torch.int64)
    if not ls.numel() and ls.shape[1:] != value.shape[1:]:
        ls = ls.new_zeros(len(ls), *value.shape[1:])
    longer = max(0, int(places.max()) + 1 - ls.shape[0])
    grown = torch.cat([ls, torch.zeros(longer, *value.shape[1:], dtype=ls.dtype)]) if longer else ls
    return grown.index_copy(0, places, value)
