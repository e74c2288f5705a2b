"""From a trained network to a small Core ML package: prune, palettize, export and verify, on real images.

Run it with `make demo`. Everything that compresses is in `recipe.yaml` beside this file; the code below trains a small
convolutional network on scikit-learn's handwritten digits, and compresses it in four verbs: plan, prepare, finalize,
convert.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import corepress
from corepress import Pipeline

HERE = Path(__file__).parent
TARGET = "iOS18"
EPOCHS = 8
FINE_TUNING_EPOCHS = 6
BATCH = 64


class Block(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images or of features."""
        return functional.relu(self.norm(self.convolution(images)))


class Network(nn.Module):
    """Three blocks and two linear layers: about 160,000 weights for images of 8 by 8 pixels."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(1, 32), Block(32, 64), nn.MaxPool2d(2), Block(64, 128), nn.MaxPool2d(2))
        self.hidden = nn.Linear(128 * 2 * 2, 128)
        self.output = nn.Linear(128, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return a score for each digit."""
        features = self.blocks(images).flatten(1)
        return self.output(functional.relu(self.hidden(features)))


class Digits:
    """1,797 images of handwritten digits, a fifth of them kept for the test."""

    def __init__(self, generator: torch.Generator) -> None:
        data = load_digits()
        images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(data.target)
        order = torch.randperm(len(labels), generator=generator)
        kept = len(labels) // 5
        self.test = images[order[:kept]], labels[order[:kept]]
        self.training = images[order[kept:]], labels[order[kept:]]


def train(
    model: nn.Module,
    digits: Digits,
    generator: torch.Generator,
    *,
    epochs: int,
    rate: float,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Train a model; `after_step` is called after every step of the optimizer."""
    images, labels = digits.training
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels), generator=generator).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
            after_step()


@torch.no_grad()
def accuracy(model: nn.Module, digits: Digits) -> float:
    """Return the fraction of test images that the model recognizes."""
    images, labels = digits.test
    model.eval()
    return float((model(images).argmax(1) == labels).float().mean())


def save(model: nn.Module, package: Path) -> int:
    """Convert a model, write the package, read it back from disk, compare every weight; return its bytes on disk."""
    example = torch.zeros(1, 1, 8, 8)
    mlmodel = corepress.coreml.convert(model, example, minimum_deployment_target=TARGET)
    mlmodel.save(str(package))
    print(corepress.coreml.verify(package, model, example), end="\n\n")
    return sum(file.stat().st_size for file in package.rglob("*") if file.is_file())


def main(folder: Path = HERE.parent / "build" / "demo") -> None:
    """Train, compress, export and verify; packages go to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    digits = Digits(generator)
    model = Network(generator)

    print("1. Train the network.")
    train(model, digits, generator, epochs=EPOCHS, rate=1e-3)
    accuracy_before = accuracy(model, digits)
    print(f"accuracy: {accuracy_before:.1%}\n")

    print("2. What would the recipe do? Nothing is touched yet.")
    pipeline = Pipeline.from_yaml(HERE / "recipe.yaml")
    print(pipeline.plan(model, minimum_deployment_target=TARGET), end="\n\n")

    print("3. Fine-tune while the network is pruned, then palettize what is left.")
    prepared = pipeline.prepare(model)
    train(prepared, digits, generator, epochs=FINE_TUNING_EPOCHS, rate=1e-3, after_step=pipeline.step)
    small = pipeline.finalize()
    print(pipeline.report(), end="\n\n")

    print("4. Export both networks, and compare every weight on disk with the network that was exported.")
    bytes_before = save(model, folder / "digits.mlpackage")
    bytes_after = save(small, folder / "digits-small.mlpackage")

    accuracy_after = accuracy(small, digits)
    print("            accuracy  bytes on disk")
    print(f"before      {accuracy_before:8.1%}  {bytes_before:13,}")
    print(f"compressed  {accuracy_after:8.1%}  {bytes_after:13,}  {bytes_before / bytes_after:.1f} times smaller")


if __name__ == "__main__":
    main()
