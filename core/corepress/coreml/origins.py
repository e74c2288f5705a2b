"""Origins: which constants of a program each weight of a torch model has become.

Most constants are named after their parameter. Folding a batch norm renames: the constant is called `const_2`, its
operation `op_32`. Only the scopes that the converter keeps while it works say which batch norm it was, and the values
say which weight.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from corepress.coreml._coremltools import ScopeSource
from corepress.coreml.folding import Foldings, is_close
from corepress.coreml.match import PackageWeights
from corepress.coreml.parts import constants_of_parts
from corepress.coreml.read import PackageWeight, program_weights
from corepress.encoding import Dense
from corepress.targets import TorchWeight, torch_weights


def origins(model: nn.Module, draft: Any, program: Any, placed: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names of the constants of each weight, under every name that the weight has in the model.

    `draft` is what the converter returned, `program` the same program as it was read from the draft's package, with the
    compressed weights in it; `placed` are the names of these.
    """
    weights = program_weights(program)
    by_name, norms, foldings = PackageWeights(weights, placed), _norms(draft), Foldings(model)
    unclaimed = [weight for weight in weights if not weight.compressed and _norm_of(weight, norms)]
    found: dict[str, list[str]] = {}
    for handle in torch_weights(model):
        if handle.parts and isinstance(handle.encoding(), Dense):
            constants = constants_of_parts(handle.read(), handle.output_axis, handle.parts, weights)
            found |= {name: [constant.name for constant in constants] for name in handle.names}
            continue
        constant = by_name.find(handle.names)
        if isinstance(handle.encoding(), Dense) and (constant is None or constant.shape != handle.shape):
            constant = _folded_from(handle, unclaimed, norms, foldings) or by_name.find_turned(handle.read())
        if constant is not None:
            found |= {name: [constant.name] for name in handle.names}
    return found


def _norms(draft: Any) -> dict[str, str]:
    """Return the name of the module that each operation came from, by the name of the operation."""
    operations = draft._mil_program.functions["main"].operations
    scopes = {op.name: op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME, []) for op in operations}
    # The last entry is the operation itself.
    return {name: ".".join(scope[:-1]) for name, scope in scopes.items()}


def _norm_of(weight: PackageWeight, norms: dict[str, str]) -> str | None:
    return next((norms[c.op_name] for c in weight.consumers if norms.get(c.op_name)), None)


def _folded_from(
    handle: TorchWeight, constants: Iterable[PackageWeight], norms: dict[str, str], foldings: Foldings
) -> PackageWeight | None:
    values = None
    for constant in constants:
        norm = _norm_of(constant, norms)
        if norm is None or constant.shape != handle.shape or not foldings.fits(norm, handle.facts.output_channels):
            continue
        values = handle.read() if values is None else values
        if is_close(constant, foldings.folded(norm, values, handle.output_axis)):
            return constant
    return None
