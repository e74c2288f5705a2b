"""Options that the layer-wise algorithms share."""

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option

_BATCHES = 128


@configuration
class ModuleLayerwiseConfig(ModuleConfig):
    """Configure how errors are passed on within a weight. Base class of the layer-wise configurations of modules."""

    hessian_dampening: float = option(
        default=0.01,
        ge=0,
        le=1,
        doc="Fraction of the mean diagonal entry that is added to the diagonal of the second moment of the inputs. "
        "It grows by itself where the factorization fails.",
    )
    bias_correction: bool = option(
        default=False, doc="Make up for the mean shift of the outputs, over the calibration data, in the bias."
    )
    algorithm: str = option(default="", doc="Name of the algorithm.")


@layered
class CalibratedConfig(CompressionConfig[ModuleLayerwiseConfig]):
    """Add the amount of calibration data."""

    calibration_nsamples: int = option(
        default=_BATCHES,
        ge=0,
        doc="Number of calibration batches to read, 0 = all. The default is an upper limit. "
        "For any other number, fewer batches give a warning.",
    )

    @property
    def calibration_batches(self) -> tuple[int, int | None]:
        """The batches that are asked for, and the most that are read."""
        if self.calibration_nsamples == _BATCHES:
            return 1, _BATCHES
        return max(self.calibration_nsamples, 1), self.calibration_nsamples or None
