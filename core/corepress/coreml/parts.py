"""Parts: weights that a package holds in another order of their parts, or in several constants."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from corepress.coreml.read import PackageWeight
from corepress.coreml.storage.parsing import rounding_of


def constants_of_parts(values: Tensor, axis: int, parts: int, among: Iterable[PackageWeight]) -> list[PackageWeight]:
    """Return the constants that hold every part of a weight; none where a part is missing.

    The weight has `parts` equal parts along an axis.
    """
    pieces = values.chunk(parts, axis)
    found: dict[str, PackageWeight] = {}
    missing = set(range(parts))
    for constant in among:
        if not _fits(constant.shape, pieces[0].shape, axis):
            continue
        held = set(_held(pieces, constant, axis))
        if held:
            found[constant.name] = constant
            missing -= held
    return [] if missing else list(found.values())


def _fits(shape: tuple[int, ...], piece: torch.Size, axis: int) -> bool:
    if len(shape) != len(piece) or shape[axis] % piece[axis]:
        return False
    return all(n == m for other, (n, m) in enumerate(zip(shape, piece, strict=True)) if other != axis)


def _held(pieces: tuple[Tensor, ...], constant: PackageWeight, axis: int) -> Iterator[int]:
    stored, rounding = torch.split(constant.value, pieces[0].shape[axis], axis), rounding_of(constant.var)
    for number, piece in enumerate(map(rounding, pieces)):
        if any(torch.equal(piece, block) for block in stored):
            yield number
