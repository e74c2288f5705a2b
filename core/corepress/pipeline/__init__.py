"""In which order: stages, the plan, the run, its report and its checkpoints.

The names below are loaded when they are used: the schema of recipes needs no torch.
"""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress.pipeline.compressor import BoundCompressor
    from corepress.pipeline.pipeline import Pipeline
    from corepress.pipeline.protocol import Compressor
    from corepress.pipeline.report import Plan, Report, Row
    from corepress.pipeline.stage import Stage
    from corepress.pipeline.training import TrainingRun

__all__ = [
    "BoundCompressor",
    "Compressor",
    "Pipeline",
    "Plan",
    "Report",
    "Row",
    "Stage",
    "TrainingRun",
]

__getattr__ = lazy_names(
    __name__,
    {
        "BoundCompressor": "compressor",
        "Compressor": "protocol",
        "Pipeline": "pipeline",
        "Plan": "report",
        "Report": "report",
        "Row": "report",
        "Stage": "stage",
        "TrainingRun": "training",
    },
)
