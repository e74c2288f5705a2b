"""In which order: stages, the plan, the run, its report and its checkpoints.

The names below are loaded when they are used: the schema of recipes needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corepress.pipeline.compressor import BoundCompressor, OneShotCompressor, TrainingCompressor
    from corepress.pipeline.pipeline import Pipeline
    from corepress.pipeline.protocol import Compressor
    from corepress.pipeline.report import Plan, Report, Row
    from corepress.pipeline.stage import Stage

__all__ = [
    "BoundCompressor",
    "Compressor",
    "OneShotCompressor",
    "Pipeline",
    "Plan",
    "Report",
    "Row",
    "Stage",
    "TrainingCompressor",
]

_HOME = {
    "BoundCompressor": "compressor",
    "Compressor": "protocol",
    "OneShotCompressor": "compressor",
    "Pipeline": "pipeline",
    "Plan": "report",
    "Report": "report",
    "Row": "report",
    "Stage": "stage",
    "TrainingCompressor": "compressor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
