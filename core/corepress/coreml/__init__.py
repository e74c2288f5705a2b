"""Core ML: convert a finalized model exactly, read packages back, verify, inspect, run and compare them.

Nothing here imports coremltools before it is used.
"""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names
from corepress.targets.deployment import DeploymentTarget
from corepress.targets.support import check, minimum_target

if TYPE_CHECKING:
    from corepress.coreml.comparison import Difference, LayerDifference, StoredWeight, WeightDifference, diff
    from corepress.coreml.constants import read_weights
    from corepress.coreml.conversion import convert
    from corepress.coreml.decompression import decompress
    from corepress.coreml.evaluation import evaluate
    from corepress.coreml.inspection import InspectedWeight, Inspection, inspect
    from corepress.coreml.interpreter import Executable, run
    from corepress.coreml.output_verification import VerifiedOutput
    from corepress.coreml.read import Consumer, PackageWeight
    from corepress.coreml.saving import save
    from corepress.coreml.storage.builder import OpBuilder
    from corepress.coreml.storage.chains import KNOWN_CHAINS, Chain
    from corepress.coreml.storage.lowering import CoreMLLowering, lower
    from corepress.coreml.target import CoreMLTarget
    from corepress.coreml.verification import Verification, VerifiedWeight, verify
    from corepress.coreml.weights import CoreMLWeight

__all__ = [
    "KNOWN_CHAINS",
    "Chain",
    "Consumer",
    "CoreMLLowering",
    "CoreMLTarget",
    "CoreMLWeight",
    "DeploymentTarget",
    "Difference",
    "Executable",
    "InspectedWeight",
    "Inspection",
    "LayerDifference",
    "OpBuilder",
    "PackageWeight",
    "StoredWeight",
    "Verification",
    "VerifiedOutput",
    "VerifiedWeight",
    "WeightDifference",
    "check",
    "convert",
    "decompress",
    "diff",
    "evaluate",
    "inspect",
    "lower",
    "minimum_target",
    "read_weights",
    "run",
    "save",
    "verify",
]

__getattr__ = lazy_names(
    __name__,
    {
        "KNOWN_CHAINS": "storage.chains",
        "Chain": "storage.chains",
        "Consumer": "read",
        "CoreMLLowering": "storage.lowering",
        "CoreMLTarget": "target",
        "CoreMLWeight": "weights",
        "Difference": "comparison",
        "Executable": "interpreter",
        "InspectedWeight": "inspection",
        "Inspection": "inspection",
        "LayerDifference": "comparison",
        "OpBuilder": "storage.builder",
        "PackageWeight": "read",
        "StoredWeight": "comparison",
        "Verification": "verification",
        "VerifiedOutput": "output_verification",
        "VerifiedWeight": "verification",
        "WeightDifference": "comparison",
        "convert": "conversion",
        "decompress": "decompression",
        "diff": "comparison",
        "evaluate": "evaluation",
        "inspect": "inspection",
        "lower": "storage.lowering",
        "read_weights": "constants",
        "run": "interpreter",
        "save": "saving",
        "verify": "verification",
    },
)
