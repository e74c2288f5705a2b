"""The common base class of the configurations of operations."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from corepress.config import Configuration, configuration, option
from corepress.errors import ConfigError


class CompressionGranularity(StrEnum):
    """How many values of a weight share a look-up table or a scale."""

    PER_TENSOR = "per_tensor"
    PER_GROUPED_CHANNEL = "per_grouped_channel"
    PER_CHANNEL = "per_channel"
    PER_BLOCK = "per_block"


@configuration
class OpCompressorConfig(Configuration):
    """Configure how to compress the weights of an operation. Base class of the configurations that users write."""

    weight_threshold: int | None = option(
        default=2048,
        ge=0,
        doc="Skip weights with at most this many elements. None: skip no weight for its size.",
    )

    @property
    def algorithm(self) -> str:
        """The name of the algorithm that does what is asked."""
        raise NotImplementedError

    @property
    def structured(self) -> bool:
        """Whether a rule for everything is meant for the weights of convolutions and linear layers only."""
        return False

    def module_options(self, *, portable: bool) -> dict[str, Any]:
        """Return the options of the algorithm's own configuration; `portable` keeps to what iOS16 can store."""
        raise NotImplementedError

    def reference_options(self) -> dict[str, Any]:
        """Return the options as the passes of coremltools take them."""
        return self.as_dict()

    @property
    def size_threshold(self) -> int:
        """The largest number of elements that is left alone; every constant has more than 0."""
        return self.weight_threshold or 0

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Accept a mode in any case; refuse options that belong to no kind of configuration."""
        if cls is OpCompressorConfig:
            raise ConfigError("options need a configuration such as OpPalettizerConfig(...) around them")
        mode = data.get("mode")
        return {**data, "mode": mode.lower()} if isinstance(mode, str) else data
