"""corepress: compress neural networks for Core ML and PyTorch with algorithms that are plugins.

Importing the package imports neither torch nor coremltools; the names below are loaded when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corepress import coreml
    from corepress.pipeline import Compressor, Pipeline, Plan, Report, Row, Stage
    from corepress.targets import load_state

__all__ = ["Compressor", "Pipeline", "Plan", "Report", "Row", "Stage", "coreml", "load_state"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'corepress' has no attribute {name!r}")
    if name == "coreml":
        return importlib.import_module("corepress.coreml")
    home = "corepress.targets" if name == "load_state" else "corepress.pipeline"
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
