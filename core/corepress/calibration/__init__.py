"""Statistics of calibration data, gathered in one shared pass."""

from corepress.calibration.collect import Requests, collect

__all__ = ["Requests", "collect"]
