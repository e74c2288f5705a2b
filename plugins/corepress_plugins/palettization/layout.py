"""How a weight is cut into groups of channels and vectors, and put together again."""

import attrs
from torch import Tensor


@attrs.frozen
class GroupLayout:
    """Cut a weight of `shape` into `groups` equal runs of channels along `axis`, and these into vectors.

    Vectors hold `cluster_dim` consecutive channels at one position of the other axes.
    """

    shape: tuple[int, ...]
    axis: int
    groups: int
    cluster_dim: int = 1

    def split(self, values: Tensor) -> Tensor:
        """Return the weight as (groups, vectors of a group, cluster_dim)."""
        vectors = self.shape[self.axis] // self.cluster_dim
        channels_first = values.movedim(self.axis, 0).reshape(vectors, self.cluster_dim, -1)
        return channels_first.movedim(1, -1).reshape(self.groups, -1, self.cluster_dim)

    def indices(self, found: Tensor) -> Tensor:
        """Return indices of shape (groups, vectors of a group) in the shape of the weight."""
        others = [length for axis, length in enumerate(self.shape) if axis != self.axis]
        return found.reshape(-1, *others).movedim(0, self.axis).contiguous()

    def lut(self, centroids: Tensor) -> Tensor:
        """Return centroids of shape (groups, entries, cluster_dim) as a table of two axes more than the weight."""
        groups = [self.groups if axis == self.axis else 1 for axis in range(len(self.shape))]
        return centroids.reshape(*groups, *centroids.shape[1:])
