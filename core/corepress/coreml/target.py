"""A Core ML program as a target: its weights, its names, and the program with what they have become."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Self, TypeVar

import attrs

from corepress.algorithm import StatisticSpec
from corepress.calibration import Requests, Schedule, SchedulePlan, Segment
from corepress.calibration.batches import LossFunction
from corepress.config import Rules
from corepress.config.scalars import PATTERN_SIGNS
from corepress.coreml import provenance
from corepress.coreml._coremltools import mb, op_types, types
from corepress.coreml.calibration import ProgramCalibration, why_not_gathered
from corepress.coreml.constants import SharedConstant, shared_constants
from corepress.coreml.interpreter.inputs import states_of
from corepress.coreml.match import sanitized
from corepress.coreml.program import (
    blocks,
    chosen_function,
    open_model,
    replace_value,
    write_program,
)
from corepress.coreml.raising import raised, require_alike
from corepress.coreml.read import SMALLEST_STORED, PackageWeight
from corepress.coreml.storage.builder import OpBuilder
from corepress.coreml.storage.chains import chain_types, scales_floats
from corepress.coreml.storage.lowering import write_storage
from corepress.coreml.weights import LAYERS, CoreMLWeight, use_of
from corepress.pipeline.report import some_of
from corepress.targets import Activation, Target, Weight
from corepress.targets.deployment import DeploymentTarget
from corepress.targets.torch.kinds import known_types

T = TypeVar("T")


class CoreMLTarget(Target):
    """Present an ML program: an MLModel, or the path of an `.mlpackage`.

    The program is loaded once and written once. A program for a system older than iOS16 is raised to it; with
    `activations`, to iOS17, whose operations quantize them; and to `deployment`, where that is given and newer. Chains
    of operations that no device is known to load are refused unless `allow_unknown_chains`; those that the program
    holds already stay, and are warned about.

    A program may have several functions. Constants that are equal in several are one weight and stay one; `function`
    names the one whose weights are compressed, by default all of them.
    """

    name = "coreml"
    gathers_statistics = True
    deployment: DeploymentTarget

    def __init__(
        self,
        model: Any,
        *,
        activations: bool = False,
        deployment: DeploymentTarget | None = None,
        allow_unknown_chains: bool = False,
        function: str | None = None,
    ) -> None:
        self.model = open_model(model)
        spec = self.model.get_spec()
        own = DeploymentTarget.of_specification(spec.specificationVersion)
        self.deployment = max(own, DeploymentTarget.iOS17 if activations else DeploymentTarget.iOS16, deployment or own)
        if self.deployment > own:
            self.remarks = (f"the program is for {own}; what is made of it needs {self.deployment}",)
        self._allow_unknown_chains = allow_unknown_chains
        self._own = own
        self._program = raised(self.model, own, self.deployment)
        self._function = function
        self._description = spec.description
        chosen = chosen_function(self._program, spec.description, function)
        self.states = {state.name: state.shape for state in states_of(chosen)}
        self.remarks += _refused_chains(self._constants)

    @cached_property
    def _shared(self) -> list[SharedConstant]:
        return shared_constants(self._program)

    @cached_property
    def _constants(self) -> list[PackageWeight]:
        return [each.first for each in self._shared]

    @property
    def _has_functions(self) -> bool:
        return len(self._program.functions) > 1

    @cached_property
    def _weights(self) -> list[CoreMLWeight]:
        torch_names = provenance.torch_names(self.model)
        return [
            CoreMLWeight(
                each.first,
                tuple(
                    use_of(op, parameter, len(held.shape))
                    for held in each.held.values()
                    for op, parameter in held.readers
                ),
                self.deployment,
                torch_names.get(each.name, ()),
                tuple(each.held.values())[1:],
            )
            for each in self._shared
            if self._why_skipped(each) is None
        ]

    def copy(self, rewritten: Iterable[Weight] = (), *, temporary: bool = False) -> Self:  # noqa: ARG002  (values are written with the program)
        """Return a target of the same program whose weights are its own."""
        other = object.__new__(type(self))
        vars(other).update({key: value for key, value in vars(self).items() if key != "_by_name"})
        other._weights = [weight.fresh() for weight in self._weights]
        return other

    @property
    def made_by(self) -> Mapping[str, str] | None:
        """What earlier runs have stored in the package."""
        found = provenance.provenance_of(self.model)
        return found if {"recipe", "plugins"} <= found.keys() else None

    def adapted(self, rules: Rules[T]) -> Rules[T]:
        """Return rules with the names of torch modules spelled as the converter spells them."""
        known = self.known_names
        names = {
            key if key in known or PATTERN_SIGNS.intersection(key) or sanitized(key) not in known else sanitized(key): v
            for key, v in rules.names.items()
        }
        return attrs.evolve(rules, names=names)

    def weights(self) -> list[CoreMLWeight]:
        """Return a handle on every compressible weight."""
        return self._weights

    def sibling(self, weight: Weight, parameter: str) -> Weight:  # noqa: ARG002
        """Raise LookupError: in a program every constant is configured by its own name."""
        raise LookupError(f"the constants of a program have names of their own; name {parameter!r} of the layer by it")

    @cached_property
    def known_names(self) -> frozenset[str]:
        """The names of all operations and constants, and what the weights were called in torch."""
        ops = {op.name for block in blocks(self._program) for op in block.operations if op.op_type != "const"}
        aliases = {name for w in self._weights for alias in w.subject.aliases for name in alias.names}
        constants = {name for each in self._constants for name in (each.name, str(each.var.op.name))}
        return frozenset(ops | aliases | constants)

    @cached_property
    def known_types(self) -> Collection[str]:
        """The types of the program's operations and of all layers, and the module classes of torch."""
        ops = {op.op_type for block in blocks(self._program) for op in block.operations}
        return known_types().union(ops, op_types())

    def others(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and reason of every constant that is no compressible weight."""
        reasons = ((each, self._why_skipped(each)) for each in self._shared)
        return {each.name: (each.first.shape, reason) for each, reason in reasons if reason is not None}

    def _why_skipped(self, constant: SharedConstant) -> str | None:
        if self._function is not None and self._function not in constant.held:
            return f"function {self._function!r} does not use it"
        return _why_not(constant.first)

    def why_not_gathered(self, spec: StatisticSpec) -> str | None:
        """Return why a statistic cannot be gathered: it needs a loss, torch modules, or one function alone."""
        if self._has_functions:
            return "the program has several functions; compress each of them before they are joined"
        return why_not_gathered(spec)

    def segments(
        self,
        schedule: Schedule,
        requests: Requests,
        data: Iterable[Any],
        loss_fn: LossFunction | None = None,  # noqa: ARG002  (a program has no gradients)
        *,
        fewest: int = 1,
        most: int | None = None,
    ) -> Iterator[Segment]:
        """Yield the statistics of weights; batches are inputs by name, or in the program's order.

        `blocks` of a sequential schedule match names of operations, constants and torch modules, or the beginnings of
        names up to a dot or an underscore; by default each weight is a block. States begin as zeros with every batch.
        """
        return self._calibration(schedule, requests).segments(data, fewest=fewest, most=schedule.most(most))

    def describe_schedule(
        self,
        schedule: Schedule,
        requests: Requests,
        data: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,  # noqa: ARG002  (a program has no gradients)
        *,
        most: int | None = None,
    ) -> SchedulePlan:
        """Return what `segments` will do."""
        return self._calibration(schedule, requests).plan(data, most=schedule.most(most))

    def _calibration(self, schedule: Schedule, requests: Requests) -> ProgramCalibration:
        return ProgramCalibration(self._program, self._weights, schedule, requests, self._description)

    @property
    def activation_obstacle(self) -> str | None:
        """Why activations cannot be quantized: there are several functions."""
        if self._has_functions:
            return "the program has several functions; quantize the activations of each of them before they are joined"
        return None

    def activations(self) -> tuple[Activation, ...]:
        """Return the operations whose activations can be quantized."""
        return self._sites

    @cached_property
    def _sites(self) -> tuple[Activation, ...]:
        from corepress.coreml.activations import sites

        aliases = {
            use.op.name: alias
            for weight in self._weights
            for use, alias in zip(weight.uses, weight.use_aliases, strict=True)
            if use.layer
        }
        return tuple(attrs.evolve(site, alias=aliases.get(site.name)) for site in sites(self._program))

    def quantize_activations(self, chosen: Mapping[str, tuple[Any, Any]], data: Iterable[Any]) -> list[str]:
        """Run the samples through the program as it is now, and quantize what passes at the chosen places."""
        from corepress.coreml.activations import quantize_activations

        self._place_pending()
        return quantize_activations(self._program, chosen, data, self._description)

    def result(self, made_by: Mapping[str, str] | None = None) -> Any:
        """Return an MLModel whose compressed constants alone differ from those of the model that was opened.

        A program that was raised is run beside the old one; see `require_alike`.
        """
        if self.deployment != self._own:
            require_alike(self.model, self._own, self.deployment)
        self._place_pending()
        entries = {provenance.PREFIX + key: value for key, value in (made_by or {}).items()}
        return write_program(self._program, self.model, entries, version=self.deployment)

    def _place_pending(self) -> None:
        for weight in self._weights:
            if weight.pending is not None:
                held = (weight.constant, *weight.twins)
                weight.constant, *twins = [
                    attrs.evolve(each, var=_place(weight, each.var, self._allow_unknown_chains)) for each in held
                ]
                weight.twins = tuple(twins)
                weight.pending = None
            if weight.pending_bias is not None:
                _place_bias(weight)
                weight.pending_bias = None


def _refused_chains(constants: Iterable[PackageWeight]) -> tuple[str, ...]:
    """Return a remark on the weights that the program holds in a chain which devices refuse."""
    refused = {constant.name: chain_types(constant.var) for constant in constants if constant.compressed}
    reasons = {
        name: f"stored as {' > '.join(ops)}, which the Neural Engine refuses to load since macOS 26; compress what "
        "corepress.coreml.decompress returns"
        for name, ops in refused.items()
        if scales_floats(ops)
    }
    return (some_of(reasons),) if reasons else ()


def _place(weight: CoreMLWeight, old: Any, allow_unknown_chains: bool) -> Any:
    """Write the weight's operations in front of those that they replace, under the same name."""
    assert weight.pending is not None
    dtype = types.nptype_from_builtin(old.dtype)
    with old.op.enclosing_block:
        ops = OpBuilder(weight.name, old.name, dtype, weight.target, old.op, allow_unknown_chains)
        new = write_storage(weight.pending, ops)
        replace_value(old, new)
    return new


def _place_bias(weight: CoreMLWeight) -> None:
    """Write another bias in the place of the one that the layer has."""
    old = weight.bias_var
    with old.op.enclosing_block:
        values = weight.bias.numpy().astype(old.val.dtype)
        new = mb.const(val=values, name=f"{old.name}_corrected", before_op=old.op)
        replace_value(old, new)


def _why_not(constant: PackageWeight) -> str | None:
    if not constant.readers:
        return "no operation reads it; it is an output of the program"
    beside = [(op.op_type, parameter) for op, parameter in constant.readers]
    if all(op_type in LAYERS and parameter not in LAYERS[op_type] for op_type, parameter in beside):
        return f"it is the {beside[0][1]} of {beside[0][0]}, no weight"
    if len(constant.shape) < 2:
        return "biases and other vectors are not compressed"
    count = math.prod(constant.shape)
    if count < SMALLEST_STORED:
        return f"it has {count} elements, fewer than {SMALLEST_STORED}: it is written into the program itself"
    return None
