"""corepress: compress neural networks for Core ML and PyTorch with algorithms that are plugins.

Importing the package imports neither torch nor coremltools; the names below are loaded when they are used.
"""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress import coreml
    from corepress.pipeline import Compressor, Pipeline, Plan, Report, Row, Stage, TrainingRun
    from corepress.targets import load_state

__all__ = ["Compressor", "Pipeline", "Plan", "Report", "Row", "Stage", "TrainingRun", "coreml", "load_state"]


__getattr__ = lazy_names(
    __name__,
    {
        "Compressor": "pipeline",
        "Pipeline": "pipeline",
        "Plan": "pipeline",
        "Report": "pipeline",
        "Row": "pipeline",
        "Stage": "pipeline",
        "TrainingRun": "pipeline",
        "coreml": "coreml",
        "load_state": "targets",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
