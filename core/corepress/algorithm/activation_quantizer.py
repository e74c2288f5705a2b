"""Activation quantizers: quantization in the making, of one activation of a torch model."""

import torch
from torch import Tensor, distributed, nn

from corepress.algorithm.activation import ActivationQuantization


class ActivationQuantizer(nn.Module):
    """Show an activation as if it were quantized; applied at its sites while the user trains or calibrates.

    Keep all state in buffers and parameters, so that a state dict restores a run exactly; parameters, such as a learned
    scale, are trained by the user's optimizer. `step_count` counts the calls of `step`. One quantizer may serve several
    sites, whose activations then share a scale: `extra_repr` says how it quantizes, and must say the same for the
    configurations of all these sites.
    """

    owner: str = ""
    """The run that attached the quantizer."""

    stage: int | None = None
    """The stage that it belongs to."""

    freezes_batch_norm: bool = False
    """Whether the batch normalization before it must use and keep its running statistics from now on."""

    step_count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step_count", torch.zeros((), dtype=torch.int64))

    def forward(self, values: Tensor) -> Tensor:
        """Return the activation as if quantized, or as it is; gradients flow back to it.

        Raise `NonFiniteInputError` where NaN or infinite values make a range useless; the core adds the site.
        """
        raise NotImplementedError

    def step(self) -> None:
        """Advance the schedule by one step of the user's training loop."""
        self.step_count += 1

    @torch.no_grad()
    def make_alike(self) -> None:
        """Give all ranks of a distributed training the same state: that of rank 0, unless a subclass merges them.

        Called in each step, on all ranks.
        """
        for tensor in (*self.parameters(), *self.buffers()):
            distributed.broadcast(tensor, 0)

    def quantization(self) -> ActivationQuantization | None:
        """Return the quantization as it is now; None before any activation was seen."""
        raise NotImplementedError
