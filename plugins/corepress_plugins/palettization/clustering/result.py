"""What a clustering hands back."""

from attrs import frozen
from torch import Tensor


@frozen(eq=False)
class Clustering:
    """Hold the centroids of every group and the centroid that each element goes to.

    `centroids` is float32, (G, k) and ascending for scalars, (G, k, d) for vectors. A group that needs fewer than k
    centroids repeats its last one; a group that keeps nothing has zeros.
    `indices` is uint8, (G, n); elements that are not kept have index 0.
    """

    centroids: Tensor
    indices: Tensor
