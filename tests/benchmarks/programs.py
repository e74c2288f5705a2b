"""Jobs on Core ML programs: each function of both systems on one package, and the interpreter beside torch."""

import atexit
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tests.benchmarks.floors import count_and_gather, on_package, on_weights
from tests.benchmarks.job import Job, Work
from tests.networks.resnet import ResNet18
from tests.networks.transformers import PreNormLayer
from torch import nn


def resnet18_package() -> Path:
    """Return the path of ResNet-18, with random weights of its own stream, as a package for iOS18."""
    from corepress import coreml

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "resnet18.mlpackage"
    coreml.convert(seeded(ResNet18), torch.rand(1, 3, 224, 224)).save(str(path))
    return path


def compressed_package() -> Path:
    """Return the path of the same package, palettized to 4 bits."""
    import corepress_plugins.coreml as ours

    path = resnet18_package()
    config = ours.OptimizationConfig(global_config=ours.OpPalettizerConfig(nbits=4))
    small = ours.palettize_weights(path, config)
    small.save(str(path.with_stem("small")))
    return path.with_stem("small")


def seeded(network: Callable[[], nn.Module]) -> nn.Module:
    """Return a network in eval mode whose random weights are always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network().eval()


def compress(function: str, config: str, **options: Any) -> dict[str, Work]:
    """Return one function with one global configuration: load, compress, save."""

    def work(module: str) -> Work:
        def prepare(path: Path) -> Callable[[], Any]:
            import importlib

            import coremltools as ct

            system = importlib.import_module(module)
            wanted = system.OptimizationConfig(global_config=getattr(system, config)(**options))

            def load_compress_save() -> Any:
                package = ct.models.MLModel(str(path), skip_model_load=True)
                done = getattr(system, function)(package, wanted)
                done.save(str(path.with_stem("done")))
                return done

            return load_compress_save

        return prepare

    return {"coremltools": work("coremltools.optimize.coreml"), "corepress": work("corepress_plugins.coreml")}


def without_config(function: str) -> dict[str, Work]:
    """Return a function that takes nothing but the package."""

    def work(module: str) -> Work:
        def prepare(path: Path) -> Callable[[], Any]:
            import importlib

            import coremltools as ct

            system = importlib.import_module(module)
            return lambda: getattr(system, function)(ct.models.MLModel(str(path), skip_model_load=True))

        return prepare

    return {"coremltools": work("coremltools.optimize.coreml"), "corepress": work("corepress_plugins.coreml")}


def forward(network: Callable[[], nn.Module], example: Callable[[], torch.Tensor]) -> dict[str, Work]:
    """Return a forward pass of torch, eager, and one of the same network's package in the interpreter."""

    def eager(_: None) -> Callable[[], Any]:
        model, x = seeded(network), example()

        def run() -> Any:
            with torch.no_grad():
                return model(x)

        return run

    def interpreted(_: None) -> Callable[[], Any]:
        from corepress import coreml

        program = coreml.Executable(coreml.convert(seeded(network), example()))
        inputs = {program.inputs[0].name: example().numpy()}
        return lambda: program.run(inputs)

    return {"torch": eager, "corepress": interpreted}


def judge_package(path: Path, small: Any, _: str) -> dict[str, float]:
    """Return the error of the weights and the bytes of the constants."""
    from corepress import coreml

    difference = coreml.diff(path, small)
    sizes = {weight.name: float(weight.value.double().square().sum()) for weight in coreml.read_weights(path)}
    noise = sum(sizes[row.name] * 10 ** (-row.snr_db / 10) for row in difference.weights)
    signal = sum(sizes[row.name] for row in difference.weights)
    return {"error": (noise / signal) ** 0.5, "bytes": difference.nbytes[1]}


def nothing() -> None:
    """Return no model: both systems make their own."""


def judge_nothing(*_: Any) -> dict[str, float]:
    """Return no figures."""
    return {}


def _image() -> torch.Tensor:
    return torch.rand(1, 3, 224, 224)


def _sequence() -> torch.Tensor:
    return torch.rand(1, 128, 512)


def _transformer() -> nn.Module:
    return nn.Sequential(*(PreNormLayer(512, 8) for _ in range(6)))


GROUPS = {"granularity": "per_grouped_channel", "group_size": 16}
BLOCKS = {"dtype": "int4", "granularity": "per_block", "block_size": 32}
JOBS = {
    "program_4bit": Job(
        "package of ResNet-18: 4 bits per tensor, load to save",
        resnet18_package,
        compress("palettize_weights", "OpPalettizerConfig", nbits=4)
        | {"floor": on_package(on_weights(count_and_gather), lambda: seeded(ResNet18))},
        judge_package,
    ),
    "program_groups": Job(
        "package of ResNet-18: 4 bits, groups of 16",
        resnet18_package,
        compress("palettize_weights", "OpPalettizerConfig", nbits=4, **GROUPS),
        judge_package,
    ),
    "program_int8": Job(
        "package of ResNet-18: int8 per channel",
        resnet18_package,
        compress("linear_quantize_weights", "OpLinearQuantizerConfig"),
        judge_package,
    ),
    "program_int4": Job(
        "package of ResNet-18: int4, blocks of 32",
        resnet18_package,
        compress("linear_quantize_weights", "OpLinearQuantizerConfig", **BLOCKS),
        judge_package,
    ),
    "program_sparse": Job(
        "package of ResNet-18: 75% zeros",
        resnet18_package,
        compress("prune_weights", "OpMagnitudePrunerConfig", target_sparsity=0.75),
        judge_package,
    ),
    "program_decompress": Job(
        "package of ResNet-18, 4 bits: decompress",
        compressed_package,
        without_config("decompress_weights"),
        judge_package,
    ),
    "program_metadata": Job(
        "package of ResNet-18: weight metadata",
        resnet18_package,
        without_config("get_weights_metadata"),
        judge_nothing,
    ),
    "run_resnet18": Job("ResNet-18, forward pass of 224x224", nothing, forward(ResNet18, _image), judge_nothing),
    "run_transformer": Job(
        "6 transformer layers of width 512, forward pass of 128 tokens",
        nothing,
        forward(_transformer, _sequence),
        judge_nothing,
    ),
}
