"""A network with every kind of module that the core knows."""

import pytest
import torch
from torch import nn


class Zoo(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.conv1 = nn.Conv1d(4, 6, 3)
        self.conv2 = nn.Conv2d(4, 8, 3, groups=2)
        self.conv3 = nn.Conv3d(2, 4, 2)
        self.up1 = nn.ConvTranspose1d(4, 6, 3)
        self.up2 = nn.ConvTranspose2d(4, 8, 3, groups=2)
        self.up3 = nn.ConvTranspose3d(2, 4, 2)
        self.embedding = nn.Embedding(10, 4)
        self.bag = nn.EmbeddingBag(10, 4)
        self.attention = nn.MultiheadAttention(8, 2)
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=4)
        self.norm = nn.LayerNorm(4)


@pytest.fixture
def zoo():
    return Zoo()


class Barn(nn.Module):
    """A module of a kind that only a plugin knows; its table is stored input first."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.ones(3, 5))
        self.inner = nn.Linear(5, 5)


@pytest.fixture
def barn():
    return Barn()
