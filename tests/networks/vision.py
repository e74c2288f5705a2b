"""Vision networks in small: ViT (Dosovitskiy 2020), Swin (Liu 2021), ConvNeXt (Liu 2022), U-Net (Ronneberger 2015)."""

import torch
from tests.networks.transformers import PreNormLayer
from torch import Tensor, nn


class ViT(nn.Module):
    """Patches, a class token and position embeddings through transformer layers."""

    def __init__(self, width: int = 32, layers: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.token = nn.Parameter(0.1 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(0.1 * torch.randn(1, 17, width))
        self.layers = nn.Sequential(*(PreNormLayer(width, 4) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.layers(x))[:, 0])


class WindowAttention(nn.Module):
    """Self-attention within windows, with position biases; shifted windows attend by regions only."""

    def __init__(self, width: int, heads: int, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.side, self.window, self.shift = heads, side, window, shift
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.bias = nn.Parameter(torch.randn(heads, window**2, window**2))
        self.out = nn.Linear(width, width)
        regions = torch.zeros(1, side, side, 1)
        cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None)) if shift else (slice(None),)
        for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
            regions[:, rows, columns] = number
        found = self._partition(regions).squeeze(-1)
        self.register_buffer("mask", (found[:, None, :] != found[:, :, None]) * -100.0)

    def _partition(self, x: Tensor) -> Tensor:
        n, w = self.side // self.window, self.window
        return x.reshape(-1, n, w, n, w, x.shape[-1]).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, x.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        n, w, width = self.side // self.window, self.window, x.shape[-1]
        shifted = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2)) if self.shift else self.norm(x)
        windows = self._partition(shifted)
        qkv = self.qkv(windows).reshape(-1, w * w, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] * (width // self.heads) ** -0.5) @ qkv[1].transpose(-2, -1) + self.bias
        scores = scores.reshape(-1, n * n, self.heads, w * w, w * w) + self.mask[None, :, None]
        weights = scores.reshape(-1, self.heads, w * w, w * w).softmax(-1)
        y = self.out((weights @ qkv[2]).transpose(1, 2).reshape(-1, w * w, width))
        y = y.reshape(-1, n, n, w, w, width).permute(0, 1, 3, 2, 4, 5).reshape(-1, self.side, self.side, width)
        return x + (torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y)


class Swin(nn.Module):
    """Two window attentions, the second one shifted, and patch merging."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.attend = nn.Sequential(WindowAttention(width, 2, 8, 4, 0), WindowAttention(width, 2, 8, 4, 2))
        self.merge = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.attend(self.patches(image).permute(0, 2, 3, 1))
        merged = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.head(self.norm(self.merge(merged)).mean((1, 2)))


class ConvNeXtBlock(nn.Module):
    """A depthwise 7×7 convolution and a channel-last perceptron with a layer scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.mlp(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + (self.scale * y).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """A stem and two blocks with downsampling between them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 4, 4), ConvNeXtBlock(16), nn.Conv2d(16, 32, 2, 2), ConvNeXtBlock(32))
        self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image).mean((-2, -1)))


class UNet(nn.Module):
    """An encoder and a decoder with group norm, transposed and upsampling steps, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU())
        self.down = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.SiLU())
        self.up = nn.ConvTranspose2d(32, 16, 2, 2)
        self.smooth = nn.Sequential(nn.Conv2d(32, 8, 3, padding=1), nn.Upsample(scale_factor=2, mode="bilinear"))
        self.out = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 1), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:
        skip = self.encode(image)
        return self.out(self.smooth(torch.cat([skip, self.up(self.down(skip))], 1)))
