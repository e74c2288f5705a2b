"""Configuration of sensitivity-weighted k-means."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option
from corepress_plugins.palettization.table_config import ModuleClusteredTableConfig

_BATCHES = 128


@configuration
class ModuleSKMPalettizerConfig(ModuleClusteredTableConfig):
    """Configure how to palettize the weights of a module."""

    per_sample: bool = option(
        default=False,
        doc="Square the gradients of single samples. False: square the gradients of batches, which is faster.",
    )
    sensitivity_path: str | None = option(
        default=None,
        doc="A .safetensors file with sensitivities by weight name. With it, no data and no loss are needed. "
        "SKMPalettizer.compute_sensitivity writes such a file.",
    )

    @property
    def needs_data(self) -> bool:
        """Whether the sensitivities are computed and not read."""
        return self.sensitivity_path is None


@layered
class SKMPalettizerConfig(CompressionConfig[ModuleSKMPalettizerConfig]):
    """Configure which modules to palettize, how, and with how much calibration data."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleSKMPalettizerConfig

    calibration_nsamples: int = option(
        default=_BATCHES,
        ge=0,
        doc="Number of calibration batches to read, 0 = all. The default is an upper limit. "
        "For any other number, corepress warns if the data has fewer batches, and uses all of them.",
    )

    @property
    def calibration_batches(self) -> tuple[int, int | None]:
        """The requested number of batches, and the most that are read; None = all."""
        if self.calibration_nsamples == _BATCHES:
            return 1, _BATCHES
        return max(self.calibration_nsamples, 1), self.calibration_nsamples or None
