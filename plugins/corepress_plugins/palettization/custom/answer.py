"""What the user's function gives back for one group, checked."""

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from corepress.errors import WeightError

MOST_ENTRIES = 256


@frozen(eq=False)
class Answer:
    """Hold the entries (entries, cluster_dim), float32, and the index of every vector of the group (n,), uint8."""

    entries: NDArray[np.float32]
    indices: NDArray[np.uint8]

    @classmethod
    def of(cls, returned: object, shape: tuple[int, ...], cluster_dim: int, where: str) -> "Answer":
        """Return what a function has returned, with indices wanted in `shape`, or flat in the same order.

        Raises WeightError, beginning with `where`, for anything that is no table and indices into it.
        """
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise WeightError(f"{where}: lut_function must return (lut, indices), it returned {_described(returned)}")
        entries = _entries(_array(returned[0], "a lut", "iuf", where), cluster_dim, where)
        return cls(entries, _indices(_array(returned[1], "indices", "iu", where), shape, len(entries), where))


def _array(given: Any, what: str, kinds: str, where: str) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except Exception as error:
        raise WeightError(f"{where}: lut_function returned {what} that cannot become an array: {error}") from error
    if array.dtype.kind not in kinds:
        wanted = "integers" if kinds == "iu" else "real numbers"
        raise WeightError(f"{where}: lut_function returned {what} of type {array.dtype}; give {wanted}")
    return array


def _entries(lut: NDArray[Any], cluster_dim: int, where: str) -> NDArray[np.float32]:
    if not ((lut.ndim == 2 and lut.shape[1] == cluster_dim) or lut.ndim == cluster_dim == 1):
        wanted = "(entries,)" if cluster_dim == 1 else f"(entries, {cluster_dim})"
        raise WeightError(f"{where}: lut_function returned a lut of shape {lut.shape}; it must be {wanted}")
    if not 1 <= len(lut) <= MOST_ENTRIES:
        raise WeightError(
            f"{where}: lut_function returned a lut of {len(lut)} entries; it must have 1 to {MOST_ENTRIES}"
        )
    with np.errstate(over="ignore"):
        entries: NDArray[np.float32] = lut.astype(np.float32).reshape(len(lut), cluster_dim)
    if not np.isfinite(entries).all():
        worst = lut.reshape(-1)[~np.isfinite(entries).reshape(-1)][0]
        raise WeightError(f"{where}: lut_function returned a lut with the entry {worst}; all must be finite in float32")
    return entries


def _indices(indices: NDArray[Any], shape: tuple[int, ...], entries: int, where: str) -> NDArray[np.uint8]:
    size = int(np.prod(shape))
    if indices.shape not in (shape, (size,)):
        raise WeightError(
            f"{where}: lut_function returned indices of shape {indices.shape}; it must be {shape} or {(size,)}"
        )
    low, high = indices.min(), indices.max()
    if low < 0 or high >= entries:
        raise WeightError(
            f"{where}: lut_function returned indices from {low} to {high} into a lut of {entries} entries; "
            f"they must be 0 to {entries - 1}"
        )
    return indices.reshape(-1).astype(np.uint8)


def _described(returned: object) -> str:
    kind = type(returned).__name__
    return f"a {kind} of {len(returned)}" if isinstance(returned, tuple | list) else f"a value of type {kind}"
