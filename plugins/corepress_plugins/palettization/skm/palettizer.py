"""Sensitive k-means under the name of the reference documentation."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from corepress.calibration import FisherDiagonal, collect
from corepress.config import entries
from corepress.errors import PlanError
from corepress.pipeline import BoundCompressor, Pipeline, Stage
from corepress.targets import TorchTarget
from corepress.targets.torch.copying import copied
from corepress_plugins.palettization.skm.config import SKMPalettizerConfig
from corepress_plugins.palettization.skm.sensitivity import sensitivity_of
from corepress_plugins.palettization.skm.sensitivity_file import require_writable, write_sensitivity

LossFunction = Callable[[nn.Module, Any], Tensor]


class SKMPalettizer(BoundCompressor):
    """Palettize a trained model by k-means in which values count by how much the loss feels them."""

    algorithm: ClassVar[str] = "skm"

    def __init__(self, model: nn.Module, config: SKMPalettizerConfig | Mapping[str, Any] | None = None) -> None:
        super().__init__(model, config)
        self._computing = self.pipeline

    @property
    def config(self) -> SKMPalettizerConfig:
        """The complete configuration."""
        config = self._computing.stages[0].config
        assert isinstance(config, SKMPalettizerConfig)
        return config

    def compute_sensitivity(
        self,
        dataloader: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,
        sensitivity_path: str | Path | None = None,
        num_sensitivity_workers: int | None = None,  # noqa: ARG002
        fsdp_auto_wrap_policy: object = None,  # noqa: ARG002
        *,
        per_sample: bool | None = None,
    ) -> dict[str, Tensor]:
        """Return the sensitivity of every compressible weight by name, float32 in (0, 1]; the model is left as it was.

        Args:
            dataloader: batches for `loss_fn`; `calibration_nsamples` of them are read, or all where there are fewer.
            loss_fn: runs the model on a batch and returns the loss.
            sensitivity_path: a safetensors file to write the sensitivities to; one that exists is replaced.
            num_sensitivity_workers: accepted for compatibility; gradients are computed in this process.
            fsdp_auto_wrap_policy: accepted for compatibility, like `num_sensitivity_workers`.
            per_sample: square the gradients of single samples; by default as `global_config` says.

        Raises:
            PlanError: there is no data, or no loss with a gradient.
            WeightError: a sensitivity is NaN or infinite.
        """
        if dataloader is None or loss_fn is None:
            missing = "dataloader=<iterable of batches>" if dataloader is None else "loss_fn=lambda model, batch: ..."
            raise PlanError(f"sensitivities need calibration data and a loss; pass {missing}")
        if sensitivity_path is not None:
            require_writable(sensitivity_path)
        if per_sample is None:
            per_sample = any(config.per_sample for config in entries(self.config.global_config))
        spec = FisherDiagonal.spec(per_sample=per_sample)
        given = TorchTarget(self.model)
        given.require_idle(given.weights())
        # On a copy, since a forward pass may write to weights: embeddings with max_norm do.
        target = TorchTarget(copied(self.model))
        weights = [weight for weight in target.weights() if weight.obstacle is None]
        fewest, most = self.config.calibration_batches
        requests = {weight.name: (spec,) for weight in weights}
        found = collect(target.model, weights, requests, dataloader, loss_fn, fewest=fewest, most=most)
        sensitivity = {name: sensitivity_of(statistics[spec.name], name) for name, statistics in found.items()}
        if sensitivity_path is not None:
            write_sensitivity(sensitivity, sensitivity_path)
        return sensitivity

    def compress(  # type: ignore[override]
        self,
        dataloader: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,
        sensitivity_path: str | Path | None = None,
        num_kmeans_workers: int | None = None,
        num_sensitivity_workers: int | None = None,  # noqa: ARG002
        inplace: bool = False,
        fsdp_auto_wrap_policy: object = None,  # noqa: ARG002
    ) -> nn.Module:
        """Return the palettized model.

        Args:
            dataloader: batches for `loss_fn`; not needed when `sensitivity_path` exists.
            loss_fn: runs the model on a batch and returns the loss.
            sensitivity_path: a safetensors file; it is read if it exists, and otherwise written for the next time.
            num_kmeans_workers: weights that are clustered at a time, by default one for each core; results do not
                depend on it.
            num_sensitivity_workers: accepted for compatibility; gradients are computed in this process.
            inplace: write the result into the model itself.
            fsdp_auto_wrap_policy: accepted for compatibility, like `num_sensitivity_workers`.

        Raises:
            PlanError: data or the loss are missing or of no use, or `sensitivity_path` does not fit the model.
            WeightError: a sensitivity is NaN or infinite.
        """
        if sensitivity_path is None:
            self.pipeline = self._computing
            return super().compress(dataloader, loss_fn, inplace=inplace, workers=num_kmeans_workers)
        if not Path(sensitivity_path).exists():
            if dataloader is None and loss_fn is None:
                raise PlanError(
                    f"sensitivity_path {str(sensitivity_path)!r}: there is no such file; "
                    "pass dataloader and loss_fn, too, to compute the sensitivities and write them there"
                )
            self._computing.plan(self.model)
            self.compute_sensitivity(dataloader, loss_fn, sensitivity_path)
        self.pipeline = Pipeline([Stage(self.algorithm, _reading(self.config, str(sensitivity_path)))])
        return super().compress(inplace=inplace, workers=num_kmeans_workers)


def _reading(config: SKMPalettizerConfig, path: str) -> SKMPalettizerConfig:
    """Return the configuration with every sensitivity read from a file."""
    data = config.as_dict()

    def reading(level: Any) -> Any:
        if isinstance(level, list):
            return [reading(entry) for entry in level]
        return None if level is None else {**level, "sensitivity_path": path}

    for section in ("module_type_configs", "module_name_configs"):
        data[section] = {key: reading(level) for key, level in data[section].items()}
    data["global_config"] = reading(data["global_config"])
    return SKMPalettizerConfig.from_dict(data)
