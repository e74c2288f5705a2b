"""Core ML: convert a finalized model exactly, read packages back, verify, inspect and run them.

Nothing here imports coremltools before it is used.
"""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names
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

__getattr__ = lazy_names(
    __name__,
    {
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
    },
)
