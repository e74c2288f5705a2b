"""The algorithm under the name that it had before."""

import warnings

from corepress_plugins.quantization.rtn.algorithm import RoundToNearest


class PTQ(RoundToNearest):
    """Round to nearest, with a warning: an instance is made once for each stage of a recipe."""

    def __init__(self) -> None:
        warnings.warn(
            "the algorithm 'ptq' is now called 'rtn'; write 'rtn' in recipes", DeprecationWarning, stacklevel=2
        )
