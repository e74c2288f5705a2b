"""An activation that is quantized while the user trains or calibrates."""

import torch
from torch import Tensor

from corepress.algorithm import ActivationQuantization, ActivationQuantizer, SiteFacts
from corepress.config import DType
from corepress_plugins.quantization.granularity import QuantizationScheme
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.linear_qat.config import ModuleLinearQuantizerConfig
from corepress_plugins.quantization.linear_qat.rounding import finished
from corepress_plugins.quantization.linear_qat.row_quantizer import RowQuantizer
from corepress_plugins.quantization.linear_qat.schedule import Milestones


class ObservedActivation(ActivationQuantizer):
    """Track the range of an activation, and show the activation as its integers decode.

    In evaluation mode the range is tracked too, for calibration; not any more once the model has been trained with
    quantization on, so that validation data leave no trace in it.
    """

    trained: Tensor

    def __init__(self, site: SiteFacts, config: ModuleLinearQuantizerConfig) -> None:
        super().__init__()
        affine = config.quantization_scheme is QuantizationScheme.affine or site.non_negative
        scheme = QuantizationScheme.affine if affine else QuantizationScheme.symmetric
        self.config = config
        self.scheme = scheme
        self.dtype = config.activation_dtype
        self.milestones = Milestones.of(config.milestones)
        self.rows = RowQuantizer(
            config.activation_observer,
            1,
            Integers.of(config.activation_dtype, scheme, full=True),
            learns=config.algorithm == "learnable",
        )
        self.register_buffer("trained", torch.zeros((), dtype=torch.bool))

    @property
    def freezes_batch_norm(self) -> bool:  # type: ignore[override]
        """Whether the milestone of batch normalization is reached."""
        return self.milestones.freezes(int(self.step_count))

    def forward(self, values: Tensor) -> Tensor:
        """Return the activation as it is quantized, once the milestone is reached."""
        steps = int(self.step_count)
        quantizes = self.milestones.quantizes(steps)
        if self._observes(steps, quantizes) and values.numel():
            self.rows.observe(values.detach().reshape(1, -1))
        if self.training and quantizes and not self.trained:
            self.trained.fill_(True)
        if not (quantizes and self.rows.has_seen):
            return values
        # Integers of numbers of half precision would be others than those in the package.
        with torch.autocast(values.device.type, enabled=False):
            return self._shown(values.float()).to(values.dtype)

    def quantization(self) -> ActivationQuantization | None:
        """Return the quantization by the range so far."""
        if not self.rows.has_seen:
            return None
        scale, zero_point = self.rows.scaling()
        return ActivationQuantization(scale=float(scale), zero_point=int(zero_point), dtype=self.dtype)

    def extra_repr(self) -> str:
        """Say how the range becomes integers."""
        config = self.config
        return f"{config.activation_dtype}, {self.scheme}, {config.activation_observer}, {config.algorithm}"

    @torch.no_grad()
    def make_alike(self) -> None:
        """Take the range over all ranks: the one that the whole batch of all of them would have."""
        self.rows.merge_ranks()
        super().make_alike()

    def _shown(self, values: Tensor) -> Tensor:
        if not self.training:
            return finished(values, *self.rows.scaling(), self.rows.integers)
        rows: Tensor = self.rows(values.reshape(1, -1))
        return rows.reshape(values.shape)

    def _observes(self, steps: int, quantizes: bool) -> bool:
        if not self.milestones.observes(steps):
            return False
        if self.rows.learns and self.milestones.always:
            return not self.rows.has_seen
        return self.training or not (quantizes and bool(self.trained))


class FixedActivation(ActivationQuantizer):
    """Show an activation whose range is known, such as that of a sigmoid, as its integers decode."""

    def __init__(self, site: SiteFacts, config: ModuleLinearQuantizerConfig) -> None:
        super().__init__()
        assert site.fixed_range is not None
        low, high = site.fixed_range
        self.milestones = Milestones.of(config.milestones)
        integers = Integers.of(config.activation_dtype, QuantizationScheme.affine)
        self.low, self.high = integers.low, integers.high
        # One more step than there are: the upper end is not reached, and the scale is a power of two.
        scale = (high - low) / (integers.high - integers.low + 1)
        zero_point = integers.low - round(low / scale)
        self.found = ActivationQuantization(scale=scale, zero_point=zero_point, dtype=config.activation_dtype)

    @property
    def freezes_batch_norm(self) -> bool:  # type: ignore[override]
        """Whether the milestone of batch normalization is reached."""
        return self.milestones.freezes(int(self.step_count))

    def forward(self, values: Tensor) -> Tensor:
        """Return the activation as it is quantized, once the milestone is reached."""
        if not self.milestones.quantizes(int(self.step_count)):
            return values
        # The scale is a power of two: all kernels round alike.
        shown = torch.fake_quantize_per_tensor_affine(
            values.float(), self.found.scale, self.found.zero_point, self.low, self.high
        )
        return shown.to(values.dtype)

    def quantization(self) -> ActivationQuantization:
        """Return the quantization, which is known beforehand."""
        return self.found


def quantizer_for(site: SiteFacts, config: ModuleLinearQuantizerConfig) -> ActivationQuantizer | None:
    """Return what quantizes an activation as configured; None where it stays in float."""
    if config.activation_dtype is DType.FLOAT32:
        return None
    return ObservedActivation(site, config) if site.fixed_range is None else FixedActivation(site, config)
