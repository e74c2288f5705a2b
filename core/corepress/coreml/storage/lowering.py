"""Lowering: the constant operations that hold an encoding in a Core ML program."""

from typing import Any, Protocol, runtime_checkable

from corepress.coreml.storage import ios16, ios18
from corepress.coreml.storage.builder import OpBuilder, Var
from corepress.coreml.storage.chains import require_known
from corepress.coreml.storage.exactness import exact_storage, rounding_to
from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding
from corepress.errors import ExportError
from corepress.targets.deployment import DeploymentTarget


@runtime_checkable
class CoreMLLowering(Protocol):
    """What a plugin's own encoding defines to be exported: a chain of constant operations.

    The method returns the output of the last operation, which must have the weight's shape and the builder's dtype.
    It may call `lower` with the same builder for a part that is a built-in encoding.
    """

    def lower_coreml(self, ops: OpBuilder) -> Var:
        """Write the operations and return the output of the last one."""
        ...


def lower(encoding: WeightEncoding, ops: OpBuilder) -> Var:
    """Write the operations that decode to the encoding's values, rounded once, and return their output.

    Raises ExportError naming the weight when the target or the precision cannot hold it.
    """
    if isinstance(encoding, Dense | Sparse | Palettized | Affine):
        try:
            encoding = exact_storage(encoding, rounding_to(ops.dtype), ops.target)
        except ExportError as error:
            raise ExportError(f"{ops.weight}: {error}") from None
    return write_storage(encoding, ops)


def write_storage(encoding: WeightEncoding, ops: OpBuilder) -> Var:
    """Write the operations of an encoding that is known to be exact in the package, as `exact_storage` gives it.

    Raises ExportError for a chain of operations that no device is known to load, unless the builder allows it.
    """
    if not isinstance(encoding, Dense | Sparse | Palettized | Affine):
        out = _lower_own(encoding, ops)
    elif ops.target >= DeploymentTarget.iOS18:
        out = ios18.write(encoding, ops)
    else:
        out = ios16.write(encoding, ops)
    if not ops.allow_unknown_chains:
        require_known(out, ops.weight, ops.target)
    return out


def _lower_own(encoding: Any, ops: OpBuilder) -> Var:
    if not isinstance(encoding, CoreMLLowering):
        raise ExportError(
            f"{ops.weight}: a {encoding.kind} encoding has no Core ML form; "
            f"define lower_coreml(self, ops) on {type(encoding).__name__}"
        )
    name, shape = f"lower_coreml of {type(encoding).__name__}", tuple(getattr(encoding, "shape", ()))
    try:
        out = encoding.lower_coreml(ops)
    except Exception as error:
        error.add_note(f"while {name} wrote {ops.weight}")
        raise
    if not hasattr(out, "shape"):
        raise ExportError(f"{ops.weight}: {name} must return a value of the program, not {type(out).__name__}")
    if tuple(out.shape) != shape:
        raise ExportError(f"{ops.weight}: {name} returned shape {tuple(out.shape)} for a weight of shape {shape}")
    return out
