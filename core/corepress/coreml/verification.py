"""Verification: whether a package holds the weights of a model, bit for bit, and computes what it computes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from corepress.algorithm import Simulator
from corepress.coreml.folding import Foldings, is_close
from corepress.coreml.markers import Held, Marked
from corepress.coreml.match import PackageWeights
from corepress.coreml.output_verification import VerifiedOutput, verify_outputs
from corepress.coreml.parts import constants_of_parts
from corepress.coreml.program import Opened, description_of, load_program, name_of_function, open_model
from corepress.coreml.provenance import Parts, is_ours, parts_of_weights, placed_weights, unused_weights
from corepress.coreml.read import PackageWeight, program_weights
from corepress.coreml.storage.exactness import exact_storage
from corepress.coreml.storage.parsing import rounding_of
from corepress.coreml.table import table
from corepress.coreml.trace import require_strided
from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding
from corepress.errors import ExportError, VerificationError
from corepress.targets import TorchWeight, torch_weights
from corepress.targets.deployment import DeploymentTarget

EQUAL = "equal"
FOLDED = "equal, with batch norm {name} folded into it"
TURNED = "equal, with two axes exchanged"
RESCALED = "not proved: rescaled by constants that are no batch norm of the model"
UNUSED = "not used by the program"
NOT_FOUND = "not proved: not in the package as it is"


@attrs.frozen
class VerifiedWeight:
    """What became of one weight of the model in the package; `result` says whether its values are equal."""

    name: str
    stored_as: str
    nbytes: int
    result: str

    @property
    def equal(self) -> bool:
        """Whether the package holds the weight's values, bit for bit after one rounding to its precision."""
        return self.result == EQUAL


@attrs.frozen
class Verification:
    """The outcome of `verify`: a row for each weight of the model and for each output compared; print it for tables.

    `others` counts the parameters that are not compared: biases, dense norms, and whatever is no compressible weight.
    """

    weights: tuple[VerifiedWeight, ...]
    others: int = 0
    outputs: tuple[VerifiedOutput, ...] = ()

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return the rows by weight name, as plain values; those of outputs by name under `outputs`, if there are."""
        rows: dict[str, dict[str, Any]] = {
            row.name: {"stored_as": row.stored_as, "nbytes": row.nbytes, "equal": row.equal, "result": row.result}
            for row in self.weights
        }
        outputs = {row.name: attrs.asdict(row) for row in self.outputs}
        return rows | {"outputs": outputs} if outputs else rows

    def __str__(self) -> str:
        rows = [(row.name, row.stored_as, row.nbytes, row.result) for row in self.weights]
        proved = sum(row.equal or row.result.startswith(EQUAL) for row in self.weights)
        summary = f"{proved} of {len(rows)} weights are equal; {self.others} other parameters were not compared"
        text = f"{table(('weight', 'stored as', 'bytes', 'result'), rows)}\n{summary}"
        if not self.outputs:
            return text
        outputs = [
            (row.name, "x".join(map(str, row.shape)), row.snr_db, f"{row.max_error:.1e}") for row in self.outputs
        ]
        return f"{text}\n\n{table(('output', 'shape', 'SNR dB', 'max error'), outputs)}"


def verify(
    mlmodel: Any,
    model: nn.Module,
    example_inputs: Any = None,
    *,
    tolerance: float | None = None,
    function: str | None = None,
) -> Verification:
    """Compare every weight that a package decodes to with the torch model, bit for bit, and what both compute.

    The torch values are rounded once to the package's precision. Weights are found by the names that `convert` records,
    or by the converter's own naming. Compressed weights are never folded. A dense weight may be: it is compared with
    every batch norm of the model folded into it, to the last digit of the precision. A dense weight that the package
    holds neither way is an error in a package that `convert` made, and listed as not proved in others. Parameters that
    are no compressible weights are counted, not compared, and so are norms that are not compressed.

    With `example_inputs`, given as to `convert`, the package runs in the interpreter and a float32 copy of the model in
    eval mode. Each output must be within `tolerance` of the model's, the norm of the difference relative to that of
    the model's output: by default 1e-4 for programs in float32, 2e-2 where any of it is in float16, and 5e-2 where
    activations are quantized, since a value half-way between two integers may become either of them. States begin as
    the buffers of the model; an image input gets the pixels that the program scales to the example.

    `mlmodel` is an MLModel or the path of an `.mlpackage`; `function` names the one of its functions that the model was
    converted to, by default the default one.

    Raises VerificationError naming the first weight that is missing, stored in another way than the model says, or
    different (with index and both values), or else the first output that differs, with its SNR; and ExportError when
    `mlmodel` is no ML program, has no such function, or cannot be run on these inputs, and when `model` is not
    finalized.
    """
    if tolerance is not None and not (isinstance(tolerance, int | float) and tolerance >= 0):
        raise ExportError(f"tolerance must be 0 or more, not {tolerance!r}")
    if not isinstance(model, nn.Module):
        raise ExportError(f"expected a torch.nn.Module to compare with, not {type(model).__name__}")
    if any(isinstance(module, Simulator) for module in model.modules()):
        raise ExportError("the model is prepared for training but not finalized; compare with what finalize() returns")
    require_strided(model)
    package = open_model(mlmodel)
    program = load_program(package)
    opened = Opened(package, program, name_of_function(program, description_of(package), function))
    weights, others = _verified_weights(opened, model)
    outputs = () if example_inputs is None else verify_outputs(opened, model, example_inputs, tolerance)
    return Verification(weights, others, outputs)


def _verified_weights(opened: Opened, model: nn.Module) -> tuple[tuple[VerifiedWeight, ...], int]:
    """Return the row of each weight of the model, and how many other parameters the model has."""
    package, weights = opened.model, program_weights(opened.program, opened.function)
    contents = _Contents(
        weights,
        PackageWeights(weights, placed_weights(package)),
        parts_of_weights(package),
        unused_weights(package),
        is_ours(package),
        DeploymentTarget.of_specification(package.get_spec().specificationVersion),
        Foldings(model),
    )
    rows = []
    compared: set[str] = set()
    for handle in torch_weights(model):
        encoding = handle.encoding()
        if handle.incidental and isinstance(encoding, Dense):
            continue
        compared.update(handle.names)
        rows.append(contents.row(handle, encoding))
    others = sum(name not in compared for name, _ in model.named_parameters(remove_duplicate=False))
    return tuple(rows), others


@attrs.frozen
class _Contents:
    """What a package holds of a model, and what it says of that itself; `ours` is one that `convert` made."""

    weights: Collection[PackageWeight]
    found: PackageWeights
    parts: Parts
    unused: Collection[str]
    ours: bool
    target: DeploymentTarget
    foldings: Foldings

    def row(self, handle: TorchWeight, encoding: WeightEncoding) -> VerifiedWeight:
        """Compare a weight of the model with what the package holds."""
        is_unused, is_dense = handle.name in self.unused, isinstance(encoding, Dense)
        if is_unused and not is_dense:
            return VerifiedWeight(handle.name, "", 0, UNUSED)
        if handle.name in self.parts:
            return _compared_in_parts(handle, encoding, self.parts[handle.name], self.found, self.target)
        stored = self.found.find(handle.names)
        if handle.parts and (is_dense or not self.ours):
            row = _found_in_parts(handle, encoding, self.weights, self.target)
        elif isinstance(encoding, Dense) and (stored is None or stored.shape != handle.shape):
            strict = self.ours and not is_unused
            row = _folded(handle, encoding.values, self.found, self.foldings, strict=strict)
        elif stored is None:
            raise VerificationError(f"{handle.name}: {encoding.form.describe()} in the model, missing from the package")
        else:
            row = _compared(handle.name, encoding, stored, self.target)
        return attrs.evolve(row, result=UNUSED) if is_unused and row.result == NOT_FOUND else row


def _compared_in_parts(
    handle: TorchWeight,
    encoding: WeightEncoding,
    parts: Mapping[str, Sequence[int]],
    found: PackageWeights,
    target: DeploymentTarget,
) -> VerifiedWeight:
    """Compare each operation that holds parts of a compressed weight with these parts."""
    missing = set(range(handle.parts)) - {part for order in parts.values() for part in order}
    if missing:
        raise VerificationError(f"{handle.name}: part {min(missing)} is missing from the package")
    weight = Marked(handle.name, handle.names, encoding, handle.output_axis, handle.parts)
    rows = [
        _compared(handle.name, Held(weight, tuple(order)).encoding, found.called(handle.name, operation), target)
        for operation, order in parts.items()
    ]
    return attrs.evolve(rows[0], nbytes=sum(row.nbytes for row in rows))


def _found_in_parts(
    handle: TorchWeight, encoding: WeightEncoding, weights: Iterable[PackageWeight], target: DeploymentTarget
) -> VerifiedWeight:
    """Look for the parts of a weight by their values: no record says where they are."""
    is_dense = isinstance(encoding, Dense)
    among = (weight for weight in weights if weight.compressed != is_dense)
    constants = constants_of_parts(encoding.decode(), handle.output_axis, handle.parts, among)
    if not constants:
        return VerifiedWeight(handle.name, "", 0, NOT_FOUND)
    for constant in constants:
        _check_kind(handle.name, encoding, constant.encoding, constant, target)
    stored_as = constants[0].encoding.form.describe()
    return VerifiedWeight(handle.name, stored_as, sum(constant.nbytes for constant in constants), EQUAL)


def _folded(handle: Any, values: Tensor, found: PackageWeights, foldings: Foldings, *, strict: bool) -> VerifiedWeight:
    alike = found.dense_of_shape(handle.shape)
    for candidate in alike:
        if torch.equal(candidate.value, rounding_of(candidate.var)(values)):
            return VerifiedWeight(handle.name, "dense", candidate.nbytes, EQUAL)
    for name, folded in foldings.of(values, handle.output_axis):
        for candidate in alike:
            if is_close(candidate, folded):
                return VerifiedWeight(handle.name, "dense", candidate.nbytes, FOLDED.format(name=name))
    turned = found.find_turned(values)
    if turned is not None:
        return VerifiedWeight(handle.name, "dense", turned.nbytes, TURNED)
    rescaled = found.find_rescaled(values, handle.output_axis)
    if rescaled is not None:
        return VerifiedWeight(handle.name, "dense", rescaled.nbytes, RESCALED)
    if alike and strict:
        raise VerificationError(
            f"{handle.name}: the package holds it neither as it is nor with a batch norm of the model folded into it"
        )
    return VerifiedWeight(handle.name, "", 0, NOT_FOUND)


def _compared(name: str, encoding: WeightEncoding, stored: PackageWeight, target: DeploymentTarget) -> VerifiedWeight:
    if not isinstance(encoding, Dense) and not stored.compressed and _kinds(encoding) is not None:
        raise VerificationError(f"{name}: {encoding.form.describe()} in the model, dense in the package")
    try:
        held = stored.encoding
    except ExportError as error:
        raise VerificationError(f"{name}: cannot be read back from the package: {error}") from None
    _check_kind(name, encoding, held, stored, target)
    _check_values(name, rounding_of(stored.var)(encoding.decode()), stored)
    return VerifiedWeight(name, held.form.describe(), stored.nbytes, EQUAL)


def _check_kind(
    name: str, encoding: WeightEncoding, held: WeightEncoding, stored: PackageWeight, target: DeploymentTarget
) -> None:
    wanted = _kinds(encoding)
    if wanted is None or wanted == _kinds(held) or (isinstance(encoding, Sparse) and not encoding.kept):
        return
    # Where half precision cannot hold the scales, an exact package stores look-up tables instead.
    if not isinstance(encoding, Dense):
        try:
            if _kinds(exact_storage(encoding, rounding_of(stored.var), target)) == _kinds(held):
                return
        except ExportError:
            pass
    raise VerificationError(f"{name}: {encoding.form.describe()} in the model, {held.form.describe()} in the package")


def _kinds(encoding: WeightEncoding) -> tuple[str, ...] | None:
    """Return the kinds of an encoding and its parts, None for a plugin's own, which is stored as its plugin likes."""
    match encoding:
        case Sparse():
            inner = _kinds(encoding.payload)
            return None if inner is None else ("sparse", *inner)
        case Palettized():
            return ("palettized", encoding.lut.kind)
        case Dense() | Affine():
            return (encoding.kind,)
    return None


def _check_values(name: str, wanted: Tensor, stored: PackageWeight) -> None:
    if tuple(wanted.shape) != stored.shape:
        raise VerificationError(f"{name}: shape {tuple(wanted.shape)} in the model, {stored.shape} in the package")
    value = stored.value
    if torch.equal(value, wanted):
        return
    different = value != wanted
    index = tuple(int(i) for i in different.nonzero()[0])
    raise VerificationError(
        f"{name}: {int(different.sum())} of {wanted.numel()} values differ, the first at index {index}: "
        f"{value[index].item()!r} in the package, {wanted[index].item()!r} in the model ({stored.dtype})"
    )
