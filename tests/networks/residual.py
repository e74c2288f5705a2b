"""A small residual network with what quantization in training meets: batch normalization, a sum, a concatenation."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class ResidualNetwork(nn.Module):
    """Classify 8x8 images of three channels; its weights are the same at every call."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 3, padding=1)
            self.stem_norm = nn.BatchNorm2d(8)
            self.relu = nn.ReLU(inplace=True)
            self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.pool = nn.MaxPool2d(2)
            self.mixed = nn.Conv2d(16, 12, 1)
            self.dropout = nn.Dropout(0.0)
            self.layer_norm = nn.LayerNorm(12)
            self.gate = nn.Linear(12, 12)
            self.sigmoid = nn.Sigmoid()
            self.head = nn.Linear(12, 12)
            for norm in (self.stem_norm, self.norm):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, std=0.2)
                norm.running_var.uniform_(0.5, 2.0)

    def forward(self, images: Tensor) -> Tensor:
        x = self.relu(self.stem_norm(self.stem(images)))
        y = self.norm(self.conv(x))
        y += x
        y = self.pool(torch.cat([functional.relu(y), x], 1))
        y = self.layer_norm(self.dropout(self.mixed(y).mean((2, 3))))
        return self.head(y * self.sigmoid(self.gate(y)))

    def batches(self) -> list[tuple[Tensor, ...]]:
        generator = torch.Generator().manual_seed(1)
        return [(torch.randn(4, 3, 8, 8, generator=generator),) for _ in range(3)]
