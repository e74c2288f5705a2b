"""Layer-wise compression under the name of the reference documentation."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from corepress.calibration import Schedule
from corepress.errors import ConfigError, PlanError
from corepress.pipeline import BoundCompressor, Pipeline, Stage
from corepress.targets import TorchTarget
from corepress_plugins.quantization.layerwise.compressor_config import LayerwiseCompressorConfig


class LayerwiseCompressor(BoundCompressor):
    """Compress the weights of a trained model block by block, by GPTQ and SparseGPT.

    Each block of the model is calibrated on the outputs of the compressed blocks before it. Modules may have different
    algorithms; those that are pruned go first.

    Args:
        model: the model to compress.
        config: which modules to compress, and how; a `LayerwiseCompressorConfig`, or a mapping of its options. None
            quantizes all of them by GPTQ, to uint8 per channel.

    Raises:
        ConfigError: an option is wrong, or an entry of `layers` is no module of the model.
    """

    def __init__(self, model: nn.Module, config: LayerwiseCompressorConfig | Mapping[str, Any] | None = None) -> None:
        self.model = model
        given = config if isinstance(config, LayerwiseCompressorConfig) else None
        self._config = given or LayerwiseCompressorConfig.from_dict(config or {})  # type: ignore[arg-type]
        blocks = _blocks(model, self._config.layers)
        schedule = Schedule(mode="sequential", blocks=blocks)
        outside = {} if blocks is None else dict.fromkeys(_outside(model, blocks, self._config))
        self.pipeline = Pipeline(
            [
                Stage(name, stage.evolve(module_name_configs={**outside, **stage.module_name_configs}), schedule)
                for name, stage in self._config.stages().items()
            ]
        )

    @property
    def config(self) -> LayerwiseCompressorConfig:
        """The complete configuration."""
        return self._config

    def compress(  # type: ignore[override]
        self,
        dataloader: Iterable[Any] | None = None,
        device: str | torch.device = "cpu",
        inplace: bool = False,
        *,
        workers: int | None = None,
    ) -> nn.Module:
        """Return the compressed model.

        Args:
            dataloader: batches of inputs of the model; `calibration_nsamples` of them are read.
            device: accepted for compatibility: the model is calibrated where its parameters are.
            inplace: compress the model itself, and no copy.
            workers: the number of weights that are encoded at a time; results do not depend on it.

        Raises:
            PlanError: there is no data, or `device` is another one than that of the model.
            WeightError: a weight, or what its layer reads, is NaN or infinite.
        """
        _check_device(self.model, device)
        return super().compress(dataloader, inplace=inplace, workers=workers)


def _blocks(model: nn.Module, layers: list[Any] | None) -> tuple[str, ...] | None:
    """Return the names or patterns of the blocks."""
    if layers is None:
        return None
    names = {id(module): name for name, module in model.named_modules()}
    blocks = [layer if isinstance(layer, str) else names.get(id(layer)) for layer in layers]
    for layer, block in zip(layers, blocks, strict=True):
        matches = block is not None and any(re.fullmatch(block, name) for name in names.values())
        if not (matches or block in names.values()):
            shown = repr(layer) if isinstance(layer, str) else type(layer).__name__
            children = ", ".join(name for name, _ in model.named_children()) or "none"
            raise ConfigError(
                f"layers: {shown} is no module of the model; give modules, names or regular expressions. "
                f"The children of the model are: {children}"
            )
    return tuple(block for block in blocks if block is not None)


def _outside(model: nn.Module, blocks: Iterable[str], config: LayerwiseCompressorConfig) -> Iterator[str]:
    """Yield the names of weights outside of all blocks, except for those that the configuration names."""
    names = [name for name, _ in model.named_modules()]
    inside = tuple(
        f"{name}." if name else ""
        for name in names
        if any(block == name or re.fullmatch(block, name) for block in blocks)
    )
    for weight in TorchTarget(model).weights():
        aliases = [name for alias in weight.subject.aliases for name in alias.names]
        if not any(f"{name}.".startswith(inside) for name in aliases) and not (
            config.module_name_configs.keys() & set(aliases)
        ):
            yield weight.name


def _check_device(model: nn.Module, device: str | torch.device) -> None:
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise PlanError(f"device {device!r} is no device; leave it out") from error
    found = {parameter.device.type for parameter in model.parameters()}
    if wanted.type != "cpu" and found != {wanted.type}:
        raise PlanError(
            f"device is {str(wanted)!r}, and the model is on {', '.join(sorted(found))}; "
            f"it is calibrated where it is: call model.to({str(wanted)!r}) first, or leave device out"
        )
