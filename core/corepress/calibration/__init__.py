"""Statistics of calibration data, gathered in one shared pass or block by block."""

from corepress.calibration.collect import collect
from corepress.calibration.fisher import FisherDiagonal
from corepress.calibration.gathering import Requests
from corepress.calibration.input_norms import InputNorms
from corepress.calibration.schedule import Schedule, SchedulePlan, Segment
from corepress.calibration.second_moment import Moment, SecondMoment

__all__ = [
    "FisherDiagonal",
    "InputNorms",
    "Moment",
    "Requests",
    "Schedule",
    "SchedulePlan",
    "SecondMoment",
    "Segment",
    "collect",
]
