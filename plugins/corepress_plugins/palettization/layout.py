"""How a weight is cut into groups of channels and vectors, and put together again."""

import math

import attrs
from torch import Tensor

from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress.encoding import PaletteForm, Palettized, WeightEncoding
from corepress_plugins.palettization.table_config import ModuleTableConfig


@attrs.frozen
class GroupLayout:
    """Cut a weight of `shape` into `groups` equal runs of channels along `axis`, and these into vectors.

    Vectors hold `cluster_dim` consecutive channels at one position of the other axes.
    """

    shape: tuple[int, ...]
    axis: int
    groups: int
    cluster_dim: int = 1

    @property
    def grid(self) -> tuple[int, ...]:
        """The number of groups along each axis of the weight."""
        return tuple(self.groups if axis == self.axis else 1 for axis in range(len(self.shape)))

    def split(self, values: Tensor) -> Tensor:
        """Return the weight as (groups, vectors of a group, cluster_dim)."""
        vectors = self.shape[self.axis] // self.cluster_dim
        channels_first = values.movedim(self.axis, 0).reshape(vectors, self.cluster_dim, -1)
        return channels_first.movedim(1, -1).reshape(self.groups, -1, self.cluster_dim)

    def joined(self, groups: Tensor) -> Tensor:
        """Return values (groups, vectors of a group, cluster_dim) in the shape of the weight; undoes `split`."""
        others = [length for axis, length in enumerate(self.shape) if axis != self.axis]
        vectors = groups.reshape(self.shape[self.axis] // self.cluster_dim, -1, self.cluster_dim).movedim(-1, 1)
        return vectors.reshape(self.shape[self.axis], *others).movedim(0, self.axis)

    def kept(self, weight: WeightView) -> Tensor | None:
        """Return which scalars of each group (groups, scalars of a group) a sparse weight keeps, None if it is dense.

        Raises Unsupported for vectors of a sparse weight, which have no place for single zeros.
        """
        if weight.mask is None:
            return None
        if self.cluster_dim > 1:
            raise Unsupported("a palette of vectors cannot hold single zeros; use cluster_dim 1")
        return self.split(weight.mask)[..., 0]

    def indices(self, found: Tensor) -> Tensor:
        """Return indices of shape (groups, vectors of a group) in the shape of the weight."""
        others = [length for axis, length in enumerate(self.shape) if axis != self.axis]
        return found.reshape(-1, *others).movedim(0, self.axis).contiguous()

    def lut(self, centroids: Tensor) -> Tensor:
        """Return centroids of shape (groups, entries, cluster_dim) as a table of two axes more than the weight."""
        return centroids.reshape(*self.grid, *centroids.shape[1:])

    def palettized(self, found: Tensor, lut: WeightEncoding, n_bits: int, scale: Tensor | None = None) -> Palettized:
        """Return the encoding of indices of shape (groups, vectors of a group) into a table as `lut` gives it."""
        vector_axis = self.axis if self.cluster_dim > 1 else None
        return Palettized(self.indices(found), lut, n_bits, vector_axis, scale)

    def form(self, n_bits: int) -> PaletteForm:
        """Return the form of a palette of floats."""
        return PaletteForm(n_bits, groups=self.groups, cluster_dim=self.cluster_dim, grid=self.grid)


def layout_of(weight: WeightFacts, config: ModuleTableConfig) -> GroupLayout:
    """Return how the weight is cut into groups and vectors.

    A 1-D weight is cut along its only axis. Raises Unsupported for weights without elements or channels, and for what
    groups or vectors do not divide.
    """
    if not weight.count:
        raise Unsupported("it has no elements")
    if not weight.shape:
        raise Unsupported("a 0-D parameter has no channels to palettize")
    axis = _axis_of(weight, config)
    channels = weight.shape[axis]
    group_size = config.group_size or channels
    for what, size in (("group_size", group_size), ("cluster_dim", config.vector_length)):
        if channels % size:
            raise Unsupported(f"{what} {size} does not divide its {channels} channels on axis {axis}")
    # The weight of a grouped convolution holds its groups one after another: on the axis of its outputs, or where that
    # is transposed, of its inputs.
    grouped = weight.input_axis if weight.kind.startswith("conv_transpose") else weight.output_axis
    apart = math.lcm(
        weight.groups if axis == grouped else 1,
        weight.parts if axis == weight.output_axis else 1,
    )
    per_group = channels // apart
    if per_group % config.vector_length:
        raise Unsupported(
            f"cluster_dim {config.vector_length} does not divide the {per_group} channels of each of its "
            f"{apart} groups, which vectors must not cross"
        )
    return GroupLayout(weight.shape, axis, channels // group_size, config.vector_length)


def _axis_of(weight: WeightFacts, config: ModuleTableConfig) -> int:
    rank = len(weight.shape)
    if config.tensor_axis is None:
        axis = weight.output_axis if config.channel_axis == 0 else weight.input_axis
        if axis >= rank:
            raise Unsupported(f"a {rank}-D parameter has no channels on axis {axis}; use channel_axis 0")
        return axis
    if not -rank <= config.tensor_axis < rank:
        raise Unsupported(f"tensor_axis {config.tensor_axis} is none of its {rank} axes; give {-rank} to {rank - 1}")
    return config.tensor_axis % rank
