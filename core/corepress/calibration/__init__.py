"""Statistics of calibration data, gathered in one shared pass or block by block.

The names below are loaded when they are used: schedules need no torch.
"""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress.calibration.collecting import collect
    from corepress.calibration.fisher import FisherDiagonal
    from corepress.calibration.gathering import Requests
    from corepress.calibration.input_mean import InputMean
    from corepress.calibration.input_norms import InputNorms
    from corepress.calibration.input_range import InputRange
    from corepress.calibration.schedule import Schedule, SchedulePlan, Segment
    from corepress.calibration.second_moment import Moment, SecondMoment

__all__ = [
    "FisherDiagonal",
    "InputMean",
    "InputNorms",
    "InputRange",
    "Moment",
    "Requests",
    "Schedule",
    "SchedulePlan",
    "SecondMoment",
    "Segment",
    "collect",
]

__getattr__ = lazy_names(
    __name__,
    {
        "FisherDiagonal": "fisher",
        "InputMean": "input_mean",
        "InputNorms": "input_norms",
        "InputRange": "input_range",
        "Moment": "second_moment",
        "Requests": "gathering",
        "Schedule": "schedule",
        "SchedulePlan": "schedule",
        "SecondMoment": "second_moment",
        "Segment": "schedule",
        "collect": "collecting",
    },
)
