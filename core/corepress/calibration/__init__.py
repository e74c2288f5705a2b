"""Statistics of calibration data, gathered in one shared pass."""

from corepress.calibration.collect import Requests, collect
from corepress.calibration.fisher import FisherDiagonal

__all__ = ["FisherDiagonal", "Requests", "collect"]
