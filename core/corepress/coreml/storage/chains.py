"""The chains of constant operations that corepress writes by default.

They are the chains that coremltools 9.0 writes for the same target, except those that published reports say devices
refuse.
"""

from typing import Any

import attrs

from corepress.coreml._coremltools import types
from corepress.coreml.storage.parsing import chain_of
from corepress.errors import ExportError
from corepress.targets.deployment import DeploymentTarget

AFFINE, SCALE = "constexpr_affine_dequantize", "constexpr_blockwise_shift_scale"
LUT, SPARSE = "constexpr_lut_to_dense", "constexpr_sparse_to_dense"
SPARSE_LUT, SPARSE_SCALE = "constexpr_lut_to_sparse", "constexpr_sparse_blockwise_shift_scale"
_FLOATS = " of floats"


@attrs.frozen
class Chain:
    """A chain of constant operations that holds a weight.

    `ops` are the types of the operations in the order in which they run. `first` and `last` bound the deployment
    targets of the packages that hold it so. `holds` says which encodings corepress writes as this chain, and
    `reference` which function of coremltools 9.0 writes the same chain for the same targets.
    """

    ops: tuple[str, ...]
    first: DeploymentTarget
    last: DeploymentTarget
    holds: str
    reference: str


_OLD = (DeploymentTarget.iOS16, DeploymentTarget.iOS17)
_NEW = (DeploymentTarget.iOS18, DeploymentTarget.iOS26)

KNOWN_CHAINS = (
    Chain(("const",), DeploymentTarget.iOS15, DeploymentTarget.iOS26, "Dense", "convert"),
    Chain((LUT,), *_OLD, "Palettized with one LUT", "palettize_weights"),
    Chain((AFFINE,), *_OLD, "Affine, 8 bits, per tensor or channel", "linear_quantize_weights"),
    Chain((SPARSE,), *_OLD, "Sparse", "prune_weights"),
    Chain((LUT,), *_NEW, "Palettized; a per-channel scale is multiplied into the LUTs", "palettize_weights"),
    Chain((SCALE,), *_NEW, "Affine", "linear_quantize_weights"),
    Chain((SPARSE,), *_NEW, "Sparse", "prune_weights"),
    Chain(
        (SCALE, LUT),
        DeploymentTarget.iOS18,
        DeploymentTarget.iOS18,
        "Palettized with an Affine LUT",
        "palettize_weights, then linear_quantize_weights",
    ),
    Chain(
        (LUT, SCALE),
        DeploymentTarget.iOS26,
        DeploymentTarget.iOS26,
        "Palettized with an Affine LUT",
        "linear_quantize_weights, then palettize_weights",
    ),
    Chain((SPARSE_LUT, SPARSE), *_NEW, "Sparse(Palettized)", "prune_weights, then palettize_weights"),
    Chain((SPARSE_SCALE, SPARSE), *_NEW, "Sparse(Affine)", "prune_weights, then linear_quantize_weights"),
    Chain(
        (SCALE, SPARSE_LUT, SPARSE),
        *_NEW,
        "Sparse(Palettized with an Affine LUT)",
        "prune_weights, then palettize_weights, then linear_quantize_weights",
    ),
)
"""coremltools writes each of them too. Every scale in them is over integers."""

_KNOWN = {
    (chain.ops, target) for chain in KNOWN_CHAINS for target in DeploymentTarget if chain.first <= target <= chain.last
}


def chain_types(var: Any) -> tuple[str, ...]:
    """Return the types of the constant operations behind a value, in the order in which they run.

    The name of a scale says so when its data are floating-point numbers.
    """
    return tuple(_type_of(op) for op in chain_of(var))


def is_known(ops: tuple[str, ...], target: DeploymentTarget) -> bool:
    """Tell whether a chain, given by `chain_types`, is one of `KNOWN_CHAINS` for a target."""
    return (ops, target) in _KNOWN


def scales_floats(ops: tuple[str, ...]) -> bool:
    """Tell whether a chain, given by `chain_types`, scales floating-point data.

    The Neural Engine refuses to load it since macOS 26: https://github.com/apple/coremltools/pull/2688.
    """
    return any(op.endswith(_FLOATS) for op in ops)


def require_known(var: Any, weight: str, target: DeploymentTarget) -> None:
    """Refuse a chain that is not one of `KNOWN_CHAINS` for a target.

    Raises:
        ExportError: naming the weight, the chain and the way out.
    """
    ops = chain_types(var)
    if not is_known(ops, target):
        raise ExportError(
            f"{weight}: it would be stored as {' > '.join(ops)}, which no device is known to load for {target}; "
            "write one of the chains in corepress.coreml.KNOWN_CHAINS, or pass allow_unknown_chains=True"
        )


def _type_of(op: Any) -> str:
    data = op.inputs.get("data") if op.op_type == SCALE else op.inputs.get("nonzero_data")
    is_scale = op.op_type in (SCALE, SPARSE_SCALE)
    return f"{op.op_type}{_FLOATS}" if is_scale and types.is_float(data.dtype) else str(op.op_type)
