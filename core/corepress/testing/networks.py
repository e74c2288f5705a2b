"""Small networks with reproducible weights; building one leaves the global random state alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_BATCHES = 3


class ConvolutionalNetwork(nn.Module):
    """Classify 8x8 images of three channels: plain, grouped and transposed convolutions, then linear layers."""

    def __init__(self) -> None:
        super().__init__()
        with _reproducible():
            self.stem = nn.Conv2d(3, 16, 3, padding=1)
            self.grouped = nn.Conv2d(16, 16, 3, groups=4)
            self.widened = nn.ConvTranspose2d(16, 8, 2, stride=2)
            self.hidden = nn.Linear(8, 16)
            self.classifier = nn.Linear(16, 12)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images of shape (batch, 3, 8, 8)."""
        maps = torch.relu(self.grouped(torch.relu(self.stem(images))))
        pooled = torch.relu(self.widened(maps)).mean((2, 3))
        logits: Tensor = self.classifier(torch.relu(self.hidden(pooled)))
        return logits

    def batches(self) -> list[tuple[Tensor, ...]]:
        """Return a few batches of positional inputs."""
        generator = torch.Generator().manual_seed(1)
        return [(torch.randn(4, 3, 8, 8, generator=generator),) for _ in range(_BATCHES)]


class TiedNetwork(nn.Module):
    """Score the next of 32 tokens; the embedding and the output layer share one weight."""

    def __init__(self) -> None:
        super().__init__()
        with _reproducible():
            self.embedding = nn.Embedding(32, 16)
            self.mixer = nn.Linear(16, 16)
            self.output = nn.Linear(16, 32, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the scores of token indices of shape (batch, length)."""
        scores: Tensor = self.output(torch.tanh(self.mixer(self.embedding(tokens))))
        return scores

    def batches(self) -> list[tuple[Tensor, ...]]:
        """Return a few batches of positional inputs."""
        generator = torch.Generator().manual_seed(2)
        return [(torch.randint(0, 32, (2, 8), generator=generator),) for _ in range(_BATCHES)]


@contextmanager
def _reproducible() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
