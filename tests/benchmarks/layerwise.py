"""The jobs of layer-wise compression, on two blocks of a language model that are calibrated one after the other."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from tests.benchmarks.job import Job, Work
from tests.networks.gpt import Attention, Block
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

WIDTH, HEADS, SAMPLES, TOKENS = 512, 8, 32, 256


def blocks() -> nn.Module:
    """Return two blocks of transformer with random weights of their own stream."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(Block(WIDTH, HEADS), Block(WIDTH, HEADS)).eval()


def batches(model: nn.Module) -> list[Tensor]:
    """Return batches (1, TOKENS, width of the model) whose columns depend on each other, as activations do."""
    width = next(layer.in_features for layer in model.modules() if isinstance(layer, nn.Linear))
    generator = torch.Generator().manual_seed(1)
    mix = torch.randn(width, width, generator=generator) / width**0.5
    return [torch.randn(1, TOKENS, width, generator=generator) @ mix for _ in range(SAMPLES)]


def layerwise(options: dict[str, Any]) -> dict[str, Work]:
    """Return the work of both systems, and of the floor."""
    config = {"global_config": options, "calibration_nsamples": SAMPLES}

    def theirs(model: nn.Module) -> Callable[[], nn.Module]:
        from coremltools.optimize.torch.layerwise_compression import LayerwiseCompressor, LayerwiseCompressorConfig

        data = batches(model)
        return lambda: LayerwiseCompressor(model, LayerwiseCompressorConfig.from_dict(config)).compress(data, "cpu")

    def ours(model: nn.Module) -> Callable[[], nn.Module]:
        from corepress_plugins.quantization import LayerwiseCompressor, LayerwiseCompressorConfig

        data = batches(model)
        return lambda: LayerwiseCompressor(model, LayerwiseCompressorConfig.from_dict(config)).compress(data, "cpu")

    return {"coremltools": theirs, "corepress": ours, "floor": forward_and_factorize}


def forward_and_factorize(model: nn.Module) -> Callable[[], nn.Module]:
    """Return the floor: the forward passes, a product for each distinct input, a factorization for each layer."""
    data = batches(model)

    @torch.no_grad()
    def run() -> nn.Module:
        small = copy.deepcopy(model)
        moments: dict[str, Tensor] = {}
        hooks = [_counted(name, layer, moments) for name, layer in _distinct(small)]
        for batch in data:
            small(batch)
        for hook in hooks:
            hook.remove()
        for layer in small.modules():
            if isinstance(layer, nn.Linear):
                moment = next(found for found in moments.values() if len(found) == layer.in_features)
                torch.linalg.cholesky(moment + moment.diagonal().mean() * torch.eye(len(moment)))
                layer.weight.data = layer.weight.data.clone()
        return small

    return run


def _distinct(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """Yield the linear layers, one of those that read the same input."""
    for name, module in model.named_modules():
        if isinstance(module, Attention):
            yield name, module.q_proj
        elif isinstance(module, nn.Linear) and not name.endswith(("q_proj", "k_proj", "v_proj")):
            yield name, module


def _counted(name: str, layer: nn.Linear, moments: dict[str, Tensor]) -> RemovableHandle:
    def add(layer: nn.Linear, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].flatten(0, -2)
        moment = moments.setdefault(name, torch.zeros(layer.in_features, layer.in_features))
        moment.addmm_(rows.mT, rows)

    return layer.register_forward_pre_hook(add)


@torch.no_grad()
def judge_outputs(model: nn.Module, compressed: nn.Module, system: str) -> dict[str, float]:
    """Return the relative error of the outputs."""
    squares = torch.zeros(2)
    for batch in batches(model):
        wanted = model(batch)
        squares += torch.stack([(compressed(batch) - wanted).square().sum(), wanted.square().sum()])
    return {"error": float((squares[0] / squares[1]).sqrt())}


GPTQ = {"algorithm": "gptq", "weight_dtype": "uint4"}
JOBS = {
    "gptq": Job("2 blocks of 512: GPTQ uint4 per channel", blocks, layerwise(GPTQ), judge_outputs),
    "gptq_blocks": Job(
        "2 blocks of 512: GPTQ uint4, blocks of 128",
        blocks,
        layerwise(GPTQ | {"granularity": "per_block", "block_size": 128}),
        judge_outputs,
    ),
    "sparse_gpt": Job(
        "2 blocks of 512: SparseGPT 50%",
        blocks,
        layerwise({"algorithm": "sparse_gpt", "target_sparsity": 0.5, "weight_dtype": "float32"}),
        judge_outputs,
    ),
}
