"""Small networks with the module names that examples use."""

import torch
from torch import Tensor, nn


class Second(nn.Module):
    """A convolution and a Linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(16, 32, 3, padding=1)
        self.linear = nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(torch.relu(self.conv1(x)).mean((2, 3))))


class SmallNet(nn.Module):
    """Convolutions with batch norm, and Linear layers: `module1`, `module2.conv1`, `module2.linear`, `classifier`."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.module1 = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.module2 = Second()
        self.classifier = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.module2(self.module1(x)))
