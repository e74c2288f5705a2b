"""What sensitive k-means can be asked for."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option
from corepress_plugins.palettization.table_config import ModuleClusteredTableConfig

_BATCHES = 128


@configuration
class ModuleSKMPalettizerConfig(ModuleClusteredTableConfig):
    """Say how the weights of a module are palettized."""

    per_sample: bool = option(
        default=False, doc="Square the gradients of single samples; off: those of whole batches, which is quicker."
    )
    sensitivity_path: str | None = option(
        default=None,
        doc="A .safetensors file of sensitivities by weight name, which makes data and a loss unnecessary; "
        "SKMPalettizer.compute_sensitivity writes one.",
    )

    @property
    def needs_data(self) -> bool:
        """Whether the sensitivities are computed and not read."""
        return self.sensitivity_path is None


@layered
class SKMPalettizerConfig(CompressionConfig[ModuleSKMPalettizerConfig]):
    """Say which modules are palettized, and how, and how much data their sensitivities are computed from."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleSKMPalettizerConfig

    calibration_nsamples: int = option(
        default=_BATCHES,
        ge=0,
        doc="Batches of calibration data to read, 0 = all there are. The default is a limit; "
        "when you ask for another number, data that end before it are an error.",
    )

    @property
    def calibration_batches(self) -> tuple[int, int | None]:
        """The fewest and the most batches that sensitivities are computed from."""
        if self.calibration_nsamples == _BATCHES:
            return 1, _BATCHES
        return max(self.calibration_nsamples, 1), self.calibration_nsamples or None
