"""Core ML: convert a finalized model exactly, read packages back, verify, inspect and run them.

Nothing here imports coremltools before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from corepress.targets.deployment import DeploymentTarget
from corepress.targets.support import check, minimum_target

if TYPE_CHECKING:
    from corepress.coreml.conversion import convert
    from corepress.coreml.inspection import InspectedWeight, Inspection, inspect
    from corepress.coreml.interpreter import Executable, run
    from corepress.coreml.lowering import CoreMLLowering, lower
    from corepress.coreml.ops import OpBuilder
    from corepress.coreml.read import Consumer, PackageWeight, read_weights
    from corepress.coreml.verification import Verification, VerifiedWeight, verify

_LAZY = {
    "Consumer": "read",
    "CoreMLLowering": "lowering",
    "Executable": "interpreter",
    "InspectedWeight": "inspection",
    "Inspection": "inspection",
    "OpBuilder": "ops",
    "PackageWeight": "read",
    "Verification": "verification",
    "VerifiedWeight": "verification",
    "convert": "conversion",
    "inspect": "inspection",
    "lower": "lowering",
    "read_weights": "read",
    "run": "interpreter",
    "verify": "verification",
}

__all__ = [
    "Consumer",
    "CoreMLLowering",
    "DeploymentTarget",
    "Executable",
    "InspectedWeight",
    "Inspection",
    "OpBuilder",
    "PackageWeight",
    "Verification",
    "VerifiedWeight",
    "check",
    "convert",
    "inspect",
    "lower",
    "minimum_target",
    "read_weights",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
