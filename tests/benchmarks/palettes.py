"""Palettes of few bits on a trained network: by k-means, by sensitive k-means, and by GPTQ onto palettes."""

from collections.abc import Callable
from typing import Any

from tests.benchmarks import cifar
from tests.benchmarks.job import Job
from tests.benchmarks.judging import judge_accuracy
from torch import Tensor, nn

CALIBRATION_IMAGES, BATCH = 1024, 64


def calibration() -> list[tuple[Tensor, Tensor]]:
    """Return batches of training images and their labels."""
    pixels, labels = (part[:CALIBRATION_IMAGES] for part in cifar.images("train"))
    return list(zip(cifar.normalised(pixels).split(BATCH), labels.split(BATCH), strict=True))


def kmeans(model: nn.Module, n_bits: int) -> Callable[[], nn.Module]:
    """Cluster the values."""
    from corepress_plugins.palettization import PostTrainingPalettizer

    return lambda: PostTrainingPalettizer(model, {"global_config": {"n_bits": n_bits}}).compress()


def skm(model: nn.Module, n_bits: int) -> Callable[[], nn.Module]:
    """Cluster the values, each counted by its sensitivity."""
    from corepress_plugins.palettization import SKMPalettizer

    def loss(model: nn.Module, batch: Any) -> Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(model(images), labels)

    data = calibration()
    return lambda: SKMPalettizer(model, {"global_config": {"n_bits": n_bits}}).compress(data, loss)


def gptq(mode: str) -> Callable[[nn.Module, int], Callable[[], nn.Module]]:
    """Return how to code column after column, with layers calibrated together or one residual block after another."""

    def work(model: nn.Module, n_bits: int) -> Callable[[], nn.Module]:
        from corepress import Pipeline, Stage

        options = {"palette": "kmeans", "weight_dtype": f"uint{n_bits}"}
        sequential = {"mode": "sequential", "blocks": [r"layer\d\.\d+"]} if mode == "sequential" else None
        pipeline = Pipeline([Stage("gptq_palette", {"global_config": options}, sequential)])
        data = [images for images, _ in calibration()]
        return lambda: pipeline.compress(model, data=data)

    return work


METHODS = {
    "kmeans": kmeans,
    "skm": skm,
    "gptq_palette": gptq("together"),
    "gptq_palette_sequential": gptq("sequential"),
}
JOBS = {
    f"cifar_{name}_{n_bits}bit": Job(
        f"ResNet-20: {n_bits} bits per tensor, {name}",
        cifar.resnet20,
        {"corepress": lambda model, method=method, n_bits=n_bits: method(model, n_bits)},
        judge_accuracy,
        needs_data=True,
        once=frozenset({"corepress"}),
    )
    for n_bits in (3, 2)
    for name, method in METHODS.items()
}
