"""The jobs on torch models, and all jobs."""

from collections.abc import Callable
from typing import Any

import torch
from tests.benchmarks import cifar, fine_tuning, layerwise, palettes, programs, quantization, sensitive, training
from tests.benchmarks.floors import count_and_gather, keep, on_weights, round_blocks, round_channels
from tests.benchmarks.job import RUNS, Job, Work
from tests.benchmarks.judging import bytes_of_package, judge_accuracy, relative_error
from tests.networks.resnet import ResNet18
from torch import nn

SLOW = frozenset({"coremltools"})
PER_TENSOR = {"n_bits": 4}
THREE_QUARTERS = {"target_sparsity": 0.75}
THREE_OF_FOUR = {"n_m_ratio": [3, 4]}
VECTORS = {"n_bits": 4, "cluster_dim": 4}
CHANNELS = {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 1}
GROUPED = {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 16}


def resnet18() -> nn.Module:
    """Return ResNet-18 with random weights of its own stream."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResNet18().eval()


def linear() -> nn.Module:
    """Return one linear layer of a million random weights of its own stream."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(1024, 1024)).eval()


def palettize(options: dict[str, Any]) -> dict[str, Work]:
    """Return post-training palettization with both systems."""

    def theirs(model: nn.Module) -> Callable[[], nn.Module]:
        from coremltools.optimize.torch.palettization import PostTrainingPalettizer, PostTrainingPalettizerConfig

        config = PostTrainingPalettizerConfig.from_dict({"global_config": options})
        return lambda: PostTrainingPalettizer(model, config).compress()

    def ours(model: nn.Module) -> Callable[[], nn.Module]:
        from corepress_plugins.palettization import PostTrainingPalettizer, PostTrainingPalettizerConfig

        config = PostTrainingPalettizerConfig.from_dict({"global_config": options})
        return lambda: PostTrainingPalettizer(model, config).compress()

    return {"coremltools": theirs, "corepress": ours}


def rounded(options: dict[str, Any]) -> dict[str, Work]:
    """Return rounding to nearest with both systems."""

    def theirs(model: nn.Module) -> Callable[[], nn.Module]:
        from coremltools.optimize.torch.quantization import PostTrainingQuantizer, PostTrainingQuantizerConfig

        config = PostTrainingQuantizerConfig.from_dict({"global_config": options})
        return lambda: PostTrainingQuantizer(model, config).compress()

    def ours(model: nn.Module) -> Callable[[], nn.Module]:
        from corepress_plugins.quantization import PostTrainingQuantizer, PostTrainingQuantizerConfig

        config = PostTrainingQuantizerConfig.from_dict({"global_config": options})
        return lambda: PostTrainingQuantizer(model, config).compress()

    return {"coremltools": theirs, "corepress": ours}


def piped(*stages: tuple[str, dict[str, Any]]) -> dict[str, Work]:
    """Return a pipeline of corepress, for what the peer cannot do."""

    def ours(model: nn.Module) -> Callable[[], nn.Module]:
        from corepress import Pipeline, Stage

        pipeline = Pipeline([Stage(name, {"global_config": options}) for name, options in stages])
        return lambda: pipeline.compress(model)

    return {"corepress": ours}


def prune(options: dict[str, Any]) -> dict[str, Work]:
    """Return one mask update of the scheduled pruner with both systems; the last timed one reaches the target."""
    schedule = {"update_steps": list(range(RUNS + 2)), "power": 1}
    config = {"global_config": {"scheduler": schedule, **options}}

    def stepping(pruner: Any) -> Callable[[], Any]:
        pruner.prepare(inplace=False)
        pruner.step()

        def update() -> Any:
            pruner.step()
            return pruner

        return update

    def theirs(model: nn.Module) -> Callable[[], Any]:
        from coremltools.optimize.torch.pruning import MagnitudePruner, MagnitudePrunerConfig

        return stepping(MagnitudePruner(model, MagnitudePrunerConfig.from_dict(config)))

    def ours(model: nn.Module) -> Callable[[], Any]:
        from corepress_plugins.pruning import MagnitudePruner, MagnitudePrunerConfig

        return stepping(MagnitudePruner(model, MagnitudePrunerConfig.from_dict(config)))

    return {"coremltools": theirs, "corepress": ours}


def judge_weights(model: nn.Module, compressed: nn.Module, system: str) -> dict[str, float]:
    """Return the error of the weights and the bytes of the exported package."""
    return {
        "error": relative_error(model, compressed),
        "bytes": bytes_of_package(compressed, torch.rand(1, 3, 64, 64), system),
    }


def judge_error(model: nn.Module, compressed: nn.Module, system: str) -> dict[str, float]:
    """Return the error of the weights."""
    return {"error": relative_error(model, compressed)}


def finalized(pruner: Any) -> nn.Module:
    """Return the pruned model."""
    return pruner.finalize()


JOBS = {
    "magnitude": Job(
        "ResNet-18: 75% zeros, one update", resnet18, prune(THREE_QUARTERS), judge_weights, finish=finalized
    ),
    "magnitude_n_m": Job(
        "ResNet-18: 3 of 4, one update", resnet18, prune(THREE_OF_FOUR), judge_weights, finish=finalized
    ),
    "rtn": Job(
        "ResNet-18: int8 per channel",
        resnet18,
        rounded({"weight_dtype": "int8"}) | {"floor": on_weights(round_channels)},
        judge_error,
    ),
    "rtn_blocks": Job(
        "ResNet-18: int4, blocks of 32",
        resnet18,
        rounded({"weight_dtype": "int4", "granularity": "per_block", "block_size": 32})
        | {"floor": on_weights(round_blocks)},
        judge_error,
    ),
    "prune_once": Job(
        "ResNet-18: 75% zeros at once",
        resnet18,
        piped(("magnitude", THREE_QUARTERS)) | {"floor": on_weights(keep(0.25))},
        judge_error,
    ),
    "prune_kmeans": Job(
        "ResNet-18: 50% zeros, then 4 bits",
        resnet18,
        piped(("magnitude", {"target_sparsity": 0.5}), ("kmeans", PER_TENSOR))
        | {"floor": on_weights(keep(0.5), count_and_gather)},
        judge_error,
    ),
    "kmeans": Job(
        "ResNet-18: 4 bits per tensor",
        resnet18,
        palettize(PER_TENSOR) | {"floor": on_weights(count_and_gather)},
        judge_weights,
    ),
    "kmeans_groups": Job(
        "ResNet-18: 4 bits, groups of 16",
        resnet18,
        palettize(GROUPED) | {"floor": on_weights(count_and_gather)},
        judge_weights,
    ),
    "kmeans_8bit": Job("ResNet-18: 8 bits per tensor", resnet18, palettize({"n_bits": 8}), judge_weights),
    "kmeans_channels": Job("ResNet-18: 4 bits per channel", resnet18, palettize(CHANNELS), judge_weights, once=SLOW),
    "kmeans_vectors": Job("1024x1024: 4 bits, vectors of 4", linear, palettize(VECTORS), judge_error, once=SLOW),
    "kmeans_large": Job(
        "100 M weights: 4 bits per tensor",
        lambda: nn.Sequential(nn.Linear(10_000, 10_000, bias=False)),
        {"corepress": palettize(PER_TENSOR)["corepress"]},
        judge_error,
        once=frozenset({"corepress"}),
    ),
    "cifar_4bit": Job("ResNet-20: 4 bits per tensor", cifar.resnet20, palettize(PER_TENSOR), judge_accuracy, True),
    "cifar_groups": Job("ResNet-20: 4 bits, groups of 16", cifar.resnet20, palettize(GROUPED), judge_accuracy, True),
    "cifar_2bit": Job("ResNet-20: 2 bits per tensor", cifar.resnet20, palettize({"n_bits": 2}), judge_accuracy, True),
    "cifar_half": Job(
        "ResNet-20: 50% zeros", cifar.resnet20, prune({"target_sparsity": 0.5}), judge_accuracy, True, finalized
    ),
    "cifar_sparse": Job("ResNet-20: 75% zeros", cifar.resnet20, prune(THREE_QUARTERS), judge_accuracy, True, finalized),
} | programs.JOBS
JOBS |= layerwise.JOBS | palettes.JOBS | sensitive.JOBS | training.JOBS | fine_tuning.JOBS | quantization.JOBS


def available(name: str) -> bool:
    """Tell whether the data of a job is there."""
    return not JOBS[name].needs_data or cifar.DATA.is_dir()
