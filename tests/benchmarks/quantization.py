"""A real result: ResNet-20 on CIFAR-10 with quantized weights and activations, calibrated or trained shortly."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from tests.benchmarks import cifar
from tests.benchmarks.fine_tuning import EPOCHS, RATE, trained
from tests.benchmarks.job import Job
from tests.benchmarks.judging import judge_accuracy
from tests.benchmarks.palettes import calibration
from torch import nn

_SHORT, _LONGER, _LONGEST = EPOCHS, 2 * EPOCHS, 4 * EPOCHS
_STEPS = 156
_A8 = {"quantization_scheme": "affine"}


def _trained_with(options: dict[str, Any], epochs: int) -> tuple[str, dict[str, Any]]:
    # Statistics are frozen late: at the first learning rates, the float network too diverges without normalization.
    late = int(0.9 * epochs * _STEPS)
    return "linear_qat", {**_A8, "milestones": [0, 0, late, late], **options}


def _pruned(epochs: int) -> tuple[str, dict[str, Any]]:
    steps = range(1, epochs * _STEPS // 2, 20)
    return "magnitude", {"target_sparsity": 0.75, "scheduler": {"update_steps": list(steps)}}


def calibrated(model: nn.Module) -> Callable[[], nn.Module]:
    """Observe weights and activations, and round them to 8 bits."""
    from corepress_plugins.quantization import LinearQuantizer

    data = [images for images, _ in calibration()]

    def work() -> nn.Module:
        quantizer = LinearQuantizer(model, {"global_config": {"milestones": [0, 1000, 1000, 0], **_A8}})
        prepared = quantizer.prepare(data[0])
        quantizer.step()
        with torch.no_grad():
            for images in data:
                prepared(images)
        return quantizer.finalize().eval()

    return work


def calibrated_by_peer(model: nn.Module) -> Callable[[], nn.Module]:
    """Do the same with coremltools."""
    from coremltools.optimize.torch.quantization import (
        LinearQuantizer,
        LinearQuantizerConfig,
        ModuleLinearQuantizerConfig,
    )

    data = [images for images, _ in calibration()]
    module_config = ModuleLinearQuantizerConfig(quantization_scheme="affine", milestones=[0, 1000, 1000, 0])

    def work() -> nn.Module:
        quantizer = LinearQuantizer(model, LinearQuantizerConfig(global_config=module_config))
        prepared = quantizer.prepare(example_inputs=(data[0],))
        quantizer.step()
        with torch.no_grad():
            for images in data:
                prepared(images)
        prepared.eval()
        return quantizer.finalize().eval()

    return work


Train = Callable[[], nn.Module]


def in_training(epochs: int, *stages: tuple[str, dict[str, Any]], rate: float = RATE) -> Callable[[nn.Module], Train]:
    """Return the training of a copy of the network by some stages."""

    def work(model: nn.Module) -> Train:
        from corepress import Pipeline, Stage

        pipeline = Pipeline([Stage(name, {"global_config": options}) for name, options in stages])
        return lambda: trained(model, pipeline, epochs, rate)

    return work


class _Peer:
    """Linear quantization in training by coremltools, with the verbs of a pipeline."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    def prepare(self, model: nn.Module, shape: list[int]) -> nn.Module:
        from coremltools.optimize.torch.quantization import LinearQuantizer, LinearQuantizerConfig

        config = LinearQuantizerConfig.from_dict({"global_config": self.options})
        self.quantizer = LinearQuantizer(copy.deepcopy(model), config)
        prepared: nn.Module = self.quantizer.prepare(example_inputs=(torch.zeros(shape),))
        return prepared

    def step(self) -> None:
        self.quantizer.step()

    def finalize(self) -> nn.Module:
        finished: nn.Module = self.quantizer.finalize()
        return finished


def by_peer(epochs: int, options: dict[str, Any]) -> Callable[[nn.Module], Train]:
    """Return the same training by coremltools."""
    return lambda model: lambda: trained(model, _Peer(options), epochs)


_INT4, _FLOAT = {"weight_dtype": "int4"}, {"weight_dtype": "float32"}
_DKM = ("dkm", {"n_bits": 2, "weight_threshold": 0})

JOBS = {
    name: Job(title, cifar.resnet20, work, judge_accuracy, needs_data=True, once=frozenset(work))
    for name, title, work in (
        (
            "cifar_w8a8",
            "ResNet-20: W8A8, calibrated",
            {"corepress": calibrated, "coremltools": calibrated_by_peer},
        ),
        (
            "cifar_w4a8",
            f"ResNet-20: W4A8, {_SHORT} epochs",
            {
                "corepress": in_training(_SHORT, _trained_with(_INT4, _SHORT)),
                "coremltools": by_peer(_SHORT, _trained_with({"weight_dtype": "qint4"}, _SHORT)[1]),
            },
        ),
        (
            "cifar_sparse_w4a8",
            f"ResNet-20: 75 % sparse, W4A8, {_LONGER} epochs",
            {"corepress": in_training(_LONGER, _pruned(_LONGER), _trained_with(_INT4, _LONGER))},
        ),
        (
            "cifar_sparse_dkm_a8",
            f"ResNet-20: 75 % sparse, DKM 2 bits, A8, {_LONGEST} epochs",
            {"corepress": in_training(_LONGEST, _pruned(_LONGEST), _DKM, _trained_with(_FLOAT, _LONGEST), rate=0.06)},
        ),
    )
}
