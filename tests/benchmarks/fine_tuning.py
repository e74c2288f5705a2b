"""A real result: ResNet-20 at 2 bits, by differentiable k-means and a short fine-tuning on CIFAR-10."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from tests.benchmarks import cifar
from tests.benchmarks.job import Job
from tests.benchmarks.judging import judge_accuracy
from torch import Tensor, nn
from torch.nn import functional

EPOCHS, BATCH, RATE = 2, 128, 0.02
SOFTNESS, TRUTH = 2.0, 0.3
BORDER = 4
CONFIG = {"global_config": {"n_bits": 2, "weight_threshold": 0}}


def fine_tuned(model: nn.Module) -> Callable[[], nn.Module]:
    """Return the training of a copy of the network with every layer at 2 bits."""
    from corepress import Pipeline, Stage

    return lambda: trained(model, Pipeline([Stage("dkm", CONFIG)]), EPOCHS)


def trained(model: nn.Module, pipeline: Any, epochs: int, rate: float = RATE) -> nn.Module:
    """Return a copy of a network, trained by a pipeline; the float network is its teacher."""
    student = pipeline.prepare(model, [2, 3, 32, 32]).train()
    optimizer = torch.optim.SGD(student.parameters(), lr=rate, momentum=0.9, nesterov=True)
    steps = epochs * (len(cifar.images("train")[1]) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    for inputs, labels in batches(epochs):
        with torch.no_grad():
            wanted = model(inputs)
        optimizer.zero_grad()
        distillation_loss(student(inputs), wanted, labels).backward()
        optimizer.step()
        schedule.step()
        pipeline.step()
    finished: nn.Module = pipeline.finalize().eval()
    return finished


def distillation_loss(outputs: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
    """Return the distance to the teacher's softened outputs, and a share of the cross entropy (Hinton et al., 2015)."""
    found, target = (functional.log_softmax(logits / SOFTNESS, 1) for logits in (outputs, wanted))
    distance = functional.kl_div(found, target, log_target=True, reduction="batchmean") * SOFTNESS**2
    return distance + TRUTH * functional.cross_entropy(outputs, labels)


def batches(epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images of all epochs in random order, shifted together and mirrored one by one."""
    pixels, labels = cifar.images("train")
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels), generator=generator).split(BATCH):
            if len(chosen) < BATCH:
                continue
            left, top = torch.randint(0, 2 * BORDER + 1, (2,), generator=generator).tolist()
            padded = functional.pad(pixels[chosen], (BORDER,) * 4)
            shifted = cifar.normalised(padded[:, :, top : top + 32, left : left + 32])
            mirrored = torch.rand(BATCH, generator=generator) < 0.5
            yield torch.where(mirrored[:, None, None, None], shifted.flip(3), shifted), labels[chosen]


JOBS = {
    "cifar_dkm_2bit": Job(
        "ResNet-20: DKM 2 bits, 2 epochs",
        cifar.resnet20,
        {"corepress": fine_tuned},
        judge_accuracy,
        needs_data=True,
        once=frozenset({"corepress"}),
    ),
}
