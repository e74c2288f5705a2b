"""How tensors lie in memory: elements of one tensor that share a location, and tensors that do."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def shares_elements(tensor: Tensor) -> bool:
    """Tell whether elements of a tensor share a location in memory, as those of an expanded tensor do.

    Such a tensor cannot hold arbitrary values.
    """
    if tensor.layout is not torch.strided or not tensor.numel():
        return False
    axes = sorted((stride, size) for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1)
    if axes and not axes[0][0]:
        return True
    last = 0
    for stride, size in axes:
        if stride <= last:
            # The axes interleave, so that only counting the locations gives an answer.
            marks = torch.zeros(_extent(tensor), dtype=torch.bool)
            _locations(marks, tensor, 0, tensor.element_size()).fill_(True)
            return int(marks.sum()) < tensor.numel()
        last += stride * (size - 1)
    return False


def overlapping(tensors: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """Yield the positions of every two tensors that share a location in memory, the smaller position first."""
    spans = sorted(
        (str(tensor.device), tensor.data_ptr(), position)
        for position, tensor in enumerate(tensors)
        # Tensors without values have the address 0, such as those on the meta device.
        if tensor.layout is torch.strided and tensor.numel() and tensor.data_ptr()
    )
    reaching: list[int] = []
    for device, start, position in spans:
        reaching = [p for p in reaching if str(tensors[p].device) == device and _end(tensors[p]) > start]
        for other in reaching:
            if _overlap(tensors[other], tensors[position]):
                yield min(other, position), max(other, position)
        reaching.append(position)


def write_back(tensor: Tensor, content: Tensor) -> None:
    """Give a tensor the values that a clone of it has kept; it may be an expanded one."""
    if tensor.layout is torch.strided:
        # Elements along an axis of stride 0 are one location, and torch refuses to write it several times.
        once = tuple(slice(None if stride else 1) for stride in tensor.stride())
        tensor, content = tensor[once].detach(), content[once]
    with torch.no_grad():
        tensor.copy_(content)


def _overlap(left: Tensor, right: Tensor) -> bool:
    """Tell whether two tensors whose spans of memory overlap share a location."""
    if _is_solid(left) and _is_solid(right):
        return True
    first = min(left.data_ptr(), right.data_ptr())
    unit = math.gcd(left.element_size(), right.element_size(), abs(left.data_ptr() - right.data_ptr()))
    marks = torch.zeros((max(_end(left), _end(right)) - first) // unit, dtype=torch.bool)
    _locations(marks, left, left.data_ptr() - first, unit).fill_(True)
    return bool(_locations(marks, right, right.data_ptr() - first, unit).any())


def _locations(marks: Tensor, tensor: Tensor, offset: int, unit: int) -> Tensor:
    """Return the marks that stand for the locations of a tensor's elements; each mark is for `unit` bytes."""
    each = tensor.element_size() // unit
    sizes = [size if stride else 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return marks.as_strided((*sizes, each), (*(stride * each for stride in tensor.stride()), 1), offset // unit)


def _extent(tensor: Tensor) -> int:
    """Return the number of elements from the first location of a tensor to its last."""
    return 1 + sum(stride * (size - 1) for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _end(tensor: Tensor) -> int:
    return tensor.data_ptr() + _extent(tensor) * tensor.element_size()


def _is_solid(tensor: Tensor) -> bool:
    return _extent(tensor) == tensor.numel() and not shares_elements(tensor)
