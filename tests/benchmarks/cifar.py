"""A real network on real images: ResNet-20 on CIFAR-10, where the data is there."""

import io
import itertools
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tests.networks.resnet import ResNet20
from torch import Tensor, nn

DATA = Path(os.environ.get("COREPRESS_BENCHMARK_DATA", "../shared/data"))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resnet20() -> nn.Module:
    """Return the trained network."""
    model = ResNet20()
    model.load_state_dict(torch.load(DATA / "resnet20_cifar10.pt", weights_only=True))
    return model.eval()


@cache
def images(part: str) -> tuple[Tensor, Tensor]:
    """Return the pixels (N, 3, 32, 32), uint8, and the labels of the images to `train` or `test`."""
    from PIL import Image

    archive = np.load(DATA / f"cifar10_{part}.npz")
    blob, offset = archive["jpeg"].tobytes(), archive["offset"]
    pictures = [Image.open(io.BytesIO(blob[a:b])) for a, b in itertools.pairwise(offset)]
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    return pixels.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(archive["label"]).long()


def normalised(pixels: Tensor) -> Tensor:
    """Return the inputs of the network for pixels."""
    mean, deviation = torch.tensor(MEAN)[:, None, None], torch.tensor(DEVIATION)[:, None, None]
    return (pixels / 255 - mean) / deviation


def accuracy(model: nn.Module) -> float:
    """Return the share of test images that a model classifies rightly."""
    pixels, labels = images("test")
    batches = zip(pixels.split(500), labels.split(500), strict=True)
    with torch.no_grad():
        right = sum(int((model(normalised(x)).argmax(1) == y).sum()) for x, y in batches)
    return right / len(labels)
