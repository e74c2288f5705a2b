"""Simulators: a compression in the making, attached to a weight during training."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from corepress.encoding import Dense, Sparse, WeightEncoding


class Simulator(nn.Module):
    """Show a weight as if it were compressed; used as a torch parametrization while the user trains.

    Keep all state in buffers and parameters, so that a state dict restores a run exactly; parameters, such as a learned
    scale, are trained by the user's optimizer. `step_count` counts the calls of `step`. `inner` is the simulator of a
    later stage that compresses a part of the encoding, the look-up table of a palette (see `nests`): `forward` applies
    it to that part, and `refresh` refreshes it with that part. `encode` leaves the part as it is.
    """

    owner: str = ""
    """The run that attached the simulator."""

    produces: str = "sparsity"
    """What the stage produces; simulators of one weight are applied in the canonical order of `CANONICAL_ORDER`."""

    stage: int | None = None
    """The stage that it belongs to; None for what the core adds to keep earlier work."""

    after_sparsity: bool = False
    """Whether the zeros of the weight that it sees are pruned: they must stay zero, and do not count as values."""

    nests: bool = False
    """Whether it takes the simulator of a later stage as `inner`."""

    freezes_batch_norm: bool = False
    """Whether the batch normalization behind the layer must use and keep its running statistics from now on."""

    batch_norm: Literal["fold", "keep"] | None = None
    """Whether it wants to see the weight scaled by the batch normalization behind the layer, which `finalize` then
    folds into the layer or keeps; None: the weight as it is."""

    takes_factor: ClassVar[bool] = False
    """Whether `forward` and `refresh` take the scale of a batch normalization as a second argument, a factor of the
    weight that `forward` takes off again; otherwise they see the product."""

    CANONICAL_ORDER: ClassVar[tuple[str, ...]] = ("dense", "sparsity", "palette", "affine")

    step_count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner: Simulator | None = None
        self.register_buffer("step_count", torch.zeros((), dtype=torch.int64))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call `forward`. What it computes is no part of the model: no mode records it or quantizes it."""
        with torch._C.DisableTorchFunction():
            return super().__call__(*args, **kwargs)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight as if compressed; gradients flow back to the original."""
        raise NotImplementedError

    def step(self) -> None:
        """Advance the schedule by one step of the user's training loop."""
        self.step_count += 1

    def refresh(self, weight: Tensor) -> None:
        """Bring buffers up to date with the current weight; called without gradients, at first and after each step."""

    def encode(self, weight: Tensor) -> WeightEncoding:
        """Return the encoding of the trained weight, whose decoded value is what `forward` shows."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """Say what it produces."""
        return f"produces={self.produces!r}"


class KeepZeros(Simulator):
    """Keep the zeros of a weight that was sparse before the training began."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.clone())

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with its old zeros."""
        return weight.where(self.mask, 0.0)

    def encode(self, weight: Tensor) -> WeightEncoding:
        """Return the weight as sparse as it was."""
        return Sparse(self.mask, Dense(weight))


class KeepEncoding(Simulator):
    """Keep what a weight was compressed to before the training began, so that it can only be pruned further.

    The weight is shown as it was, whatever an optimizer does to it; gradients pass as if it were trained.
    """

    values: Tensor

    def __init__(self, encoding: WeightEncoding) -> None:
        super().__init__()
        self._encoding = encoding
        self.register_buffer("values", encoding.decode())

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight as it was."""
        return self.values.to(weight.dtype) + (weight - weight.detach())

    def encode(self, weight: Tensor) -> WeightEncoding:  # noqa: ARG002  (that is its point)
        """Return what the weight was."""
        return self._encoding
