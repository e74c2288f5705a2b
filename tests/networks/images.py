"""Small networks over images and volumes."""

from torch import Tensor, nn


class SmallConvNet(nn.Module):
    """Two convolutions, one with batch norm, and a classifier; one layer is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, groups=2)
        self.fc = nn.Linear(8, 10)
        self.unused = nn.Linear(8, 8)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.second(self.norm(self.first(image)).relu()).mean((2, 3)))


class VolumeNet(nn.Module):
    """A 3-D convolution and a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(2, 4, 3)
        self.up = nn.ConvTranspose3d(4, 4, 2)

    def forward(self, volume: Tensor) -> Tensor:
        return self.up(self.down(volume))
