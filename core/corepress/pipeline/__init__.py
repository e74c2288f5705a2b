"""In which order: stages, the plan, the run, its report and its checkpoints."""

from corepress.pipeline.compressor import BoundCompressor, OneShotCompressor, TrainingCompressor
from corepress.pipeline.pipeline import Compressor, Pipeline
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
