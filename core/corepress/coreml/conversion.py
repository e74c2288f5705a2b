"""Conversion: an exact export of a finalized torch model."""

import copy
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from corepress.algorithm import Simulator
from corepress.config.suggestions import listed
from corepress.coreml import provenance
from corepress.coreml._coremltools import ct, undisturbed
from corepress.coreml.composed import compose
from corepress.coreml.markers import Codes, Marked, marked_copy
from corepress.coreml.origins import origins
from corepress.coreml.place import place
from corepress.coreml.program import load_program, write_program
from corepress.coreml.trace import (
    as_arguments,
    input_types,
    is_flexible,
    output_types,
    require_strided,
    trace,
    traced_parameters,
)
from corepress.encoding import Dense
from corepress.errors import ExportError, PrecisionWarning
from corepress.targets import torch_weights
from corepress.targets.deployment import DeploymentTarget
from corepress.targets.support import check
from corepress.targets.torch.metadata import PROVENANCE
from corepress.warn import warn_user

# It would transpose a marker's data, and the encoding could no longer take its place.
_PASS_THAT_MOVES_MARKERS = "common::merge_affine_dequantize_with_consecutive_ops"


def convert(
    model: nn.Module,
    example_inputs: Any,
    *,
    minimum_deployment_target: Any = "iOS18",
    allow_unknown_chains: bool = False,
    **convert_options: Any,
) -> Any:
    """Convert a finalized torch model to an ML program that holds every compressed weight as it is, exactly.

    Each weight's constant operations decode to its torch values, rounded once to the package's precision. The model
    itself is not touched: a copy that shares its parameters is traced in eval mode.

    `example_inputs` is a tensor, a tuple or list of tensors (positional), or a dict of tensors (by argument name);
    integers become int32 inputs. `minimum_deployment_target` is "iOS16", "macOS15", coremltools.target.iOS18, ...
    A weight that would be stored as a chain of operations which no device is known to load (see `KNOWN_CHAINS`) is an
    error unless `allow_unknown_chains`; only encodings of plugins write such chains.
    `convert_options` go to coremltools.convert: `inputs`, `outputs`, `compute_precision` (also as the text "float16" or
    "float32"), `classifier_config`, `pass_pipeline`, ...; `skip_model_load` is on outside of macOS unless given.

    Returns a coremltools MLModel. Raises ExportError when the target or the precision cannot hold a weight, naming it,
    and when the converter of coremltools cannot convert the model.
    """
    target = DeploymentTarget.parse(minimum_deployment_target)
    _refuse_foreign(model, convert_options)
    if "compute_precision" in convert_options:
        convert_options["compute_precision"] = _precision(convert_options["compute_precision"])
    weights = _compressed_weights(model, target)
    if convert_options.get("compute_precision") is not ct.precision.FLOAT32:
        _warn_of_underflow(weights)
    clone, codes = _copy_for_tracing(model, weights, convert_options.get("inputs"))
    arguments, names = as_arguments(model, example_inputs)
    traced, output_names = trace(clone, arguments, names)
    writer_options = {
        "skip_model_load": convert_options.pop("skip_model_load", sys.platform != "darwin"),
        "package_dir": convert_options.pop("package_dir", None),
    }
    convert_options.setdefault("inputs", input_types(arguments, names))
    if output_names:
        convert_options.setdefault("outputs", output_types(model, output_names))
    try:
        draft = _converted(traced, target, convert_options)
    except ExportError as error:
        if _converts_uncompressed(model, weights, (arguments, names), target, convert_options):
            raise ExportError(f"{error}; {_in_the_way(weights)}") from error
        raise
    program = load_program(draft)
    placed = place(program, codes, target, allow_unknown_chains=allow_unknown_chains)
    unused = _unused(model, weights, placed.names, traced_parameters(traced))
    made_of = origins(model, draft, program, placed.names)
    records = provenance.metadata_for(placed.names, placed.parts, unused, made_of, getattr(model, PROVENANCE, {}))
    return write_program(program, draft, records, **writer_options)


def _refuse_foreign(model: Any, options: Mapping[str, Any]) -> None:
    if isinstance(model, torch.jit.ScriptModule):
        raise ExportError("a traced or scripted model no longer says which weight is which; give the nn.Module itself")
    if not isinstance(model, nn.Module):
        raise ExportError(f"expected a torch.nn.Module, not {type(model).__name__}")
    if any(isinstance(module, Simulator) for module in model.modules()):
        raise ExportError("the model is prepared for training but not finalized; convert what finalize() returns")
    require_strided(model)
    if options.get("convert_to", "mlprogram") != "mlprogram":
        raise ExportError(f"convert_to={options['convert_to']!r} cannot hold compressed weights; leave it out")


def _precision(given: Any) -> Any:
    """Return the precision that a program computes in, as the converter takes it."""
    names = {precision.name.lower(): precision for precision in ct.precision}
    if isinstance(given, str) and given in names:
        return names[given]
    if given is None or isinstance(given, ct.precision | ct.transform.FP16ComputePrecision):
        return given
    raise ExportError(
        f"compute_precision must be one of {listed(names)}, a coremltools.precision, or a "
        f"coremltools.transform.FP16ComputePrecision, not {given!r}"
    )


def _compressed_weights(model: nn.Module, target: DeploymentTarget) -> list[Marked]:
    encoded = [
        Marked(weight.name, weight.names, weight.encoding(), weight.output_axis, weight.parts, weight.kind)
        for weight in torch_weights(model)
    ]
    compressed = [weight for weight in encoded if not isinstance(weight.encoding, Dense)]
    for weight in compressed:
        try:
            check(weight.encoding.form, target)
        except ExportError as error:
            raise ExportError(f"{weight.name}: {error}") from None
    return compressed


def _copy_for_tracing(model: nn.Module, weights: Iterable[Marked], inputs: Any = None) -> tuple[nn.Module, Codes]:
    """Return a copy of the model of operations that the converter knows, and what its markers stand for.

    Raises ExportError when a layer needs as many operations as there are steps, and `inputs` have flexible shapes.
    """
    clone, codes = marked_copy(model, weights)
    unrolled = compose(clone)
    if unrolled and any(map(is_flexible, inputs or ())):
        raise ExportError(
            f"{unrolled[0] or 'the model'}: an LSTM with proj_size is exported step by step, for inputs of one shape; "
            "give inputs without flexible shapes"
        )
    return clone, codes


def _warn_of_underflow(weights: Iterable[Marked], most: float = 0.01) -> None:
    """Say which weights are so small that float16 no longer tells their values apart."""
    lost = []
    for weight in weights:
        values = weight.encoding.decode()
        rounded = values.to(torch.float16).to(torch.float32)
        if torch.linalg.vector_norm(values - rounded, dtype=torch.float64) > most * torch.linalg.vector_norm(
            values, dtype=torch.float64
        ):
            lost.append(weight.name)
    if lost:
        warn_user(
            f"float16 rounds more than {most:.0%} of {', '.join(lost)} away, the values are too small; "
            "pass compute_precision=coremltools.precision.FLOAT32",
            PrecisionWarning,
        )


def _converted(traced: Any, target: DeploymentTarget, options: Mapping[str, Any]) -> Any:
    pipeline = copy.deepcopy(options.get("pass_pipeline", ct.PassPipeline.DEFAULT))
    pipeline.remove_passes({_PASS_THAT_MOVES_MARKERS})
    with undisturbed():
        try:
            return ct.convert(
                traced,
                minimum_deployment_target=getattr(ct.target, target.name),
                skip_model_load=True,
                **{"convert_to": "mlprogram", **options, "pass_pipeline": pipeline},
            )
        except Exception as error:
            reason = str(error) or repr(error)
            raise ExportError(f"the converter of coremltools cannot convert the model: {reason}") from error


def _converts_uncompressed(
    model: nn.Module, weights: Sequence[Marked], inputs: Any, target: DeploymentTarget, options: Mapping[str, Any]
) -> bool:
    """Tell whether it is the compressed weights that are in the way of a conversion."""
    if not weights:
        return False
    clone, _ = _copy_for_tracing(model, ())
    try:
        _converted(trace(clone, *inputs)[0], target, options)
    except ExportError:
        return False
    return True


def _in_the_way(weights: Iterable[Marked]) -> str:
    kinds: dict[str, str] = {}
    for weight in weights:
        kinds.setdefault(weight.kind, weight.name)
    listed = ", ".join(f"{kind} ({name})" for kind, name in kinds.items())
    return (
        f"with uncompressed weights it can: it computes with those of a kind among {listed}; leave them uncompressed, "
        "or give their WeightLayout the number of parts that the converter reorders"
    )


def _unused(model: nn.Module, weights: Iterable[Marked], placed: Mapping[str, str], used: set[str]) -> list[str]:
    """Return the weights that the traced graph never reads; raises ExportError for one that the converter lost."""
    for weight in weights:
        if weight.name not in placed and used.intersection(weight.names):
            raise ExportError(
                f"{weight.name}: the converter has folded this compressed weight into something else; "
                "leave it uncompressed, or keep the model from computing with it before use"
            )
    # A plain tensor is a constant of the graph, which says nothing of its name.
    known = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
    others = (
        weight for weight in torch_weights(model) if weight.name not in placed and known.intersection(weight.names)
    )
    return [weight.name for weight in others if not used.intersection(weight.names)]
