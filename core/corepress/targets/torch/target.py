"""A torch model as a target: its weights and its names."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import nn
from torch.nn.utils import parametrize

from corepress.calibration import Requests, Schedule, SchedulePlan, Segment
from corepress.calibration.batches import LossFunction
from corepress.config.suggestions import did_you_mean
from corepress.encoding.memory import overlapping
from corepress.errors import PlanError, StateError
from corepress.targets.base import Target, Weight
from corepress.targets.torch import metadata, simulation
from corepress.targets.torch.activations.attachment import adopt, quantizing_modes
from corepress.targets.torch.activations.batch_norm import Normalized, normalized_layers
from corepress.targets.torch.activations.calibration import quantize_activations
from corepress.targets.torch.activations.call_graph import CallGraph
from corepress.targets.torch.activations.recording import record
from corepress.targets.torch.activations.sites import TorchSite, in_float, known_functions, sites
from corepress.targets.torch.copying import copied, described, uncopyable
from corepress.targets.torch.kinds import kinds_without_class, known_types, type_spellings
from corepress.targets.torch.statistics import Calibration
from corepress.targets.torch.weights import TorchWeight, sibling, torch_weights


class TorchTarget(Target):
    """Present a torch model."""

    name = "torch"
    gathers_statistics = True
    why_empty = (
        "the model has no compressible weights: corepress knows linear and bilinear layers, convolutions, Embedding, "
        "attention, recurrent layers and LayerNorm; a plugin can add other modules with the hook register_module_kinds"
    )

    def __init__(self, model: nn.Module, *, private: bool = False, example_inputs: Any = None) -> None:
        self.model = model
        self._private = private
        self._example_inputs = example_inputs
        self._lent: list[tuple[nn.Parameter, int]] = []
        self.remarks = tuple(kinds_without_class())

    @cached_property
    def _weights(self) -> list[TorchWeight]:
        return torch_weights(self.model, private=self._private)

    def weights(self) -> list[TorchWeight]:
        """Return a handle on every compressible weight."""
        return self._weights

    def sibling(self, weight: Weight, parameter: str) -> TorchWeight:
        """Return a handle on another parameter of the same module."""
        assert isinstance(weight, TorchWeight)
        return sibling(weight, parameter)

    @cached_property
    def known_names(self) -> frozenset[str]:
        """The names of all modules and parameters."""
        modules = {name for name, _ in self.model.named_modules(remove_duplicate=False) if name}
        parameters = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        sites = {site.name for site in self._sites} if self.knows_activations else set[str]()
        return frozenset(modules | parameters | sites)

    @cached_property
    def known_types(self) -> frozenset[str]:
        """The spellings of torch's module classes and of all classes in the model."""
        return known_types().union(known_functions(), *(s for m in self.model.modules() for s in type_spellings(m)))

    def others(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and reason of every parameter that is no compressible weight."""
        mine = {weight.identity for weight in self._weights}
        found = {}
        for module_name, module in self.model.named_modules():
            if isinstance(module, parametrize.ParametrizationList):
                # What it computes is listed in its place.
                continue
            for parameter, value in module.named_parameters(recurse=False):
                if id(value) not in mine:
                    name = f"{module_name}.{parameter}" if module_name else parameter
                    found[name] = (tuple(value.shape), _why_not(module, value))
        return found

    def segments(
        self,
        schedule: Schedule,
        requests: Requests,
        data: Iterable[Any],
        loss_fn: LossFunction | None = None,
        *,
        fewest: int = 1,
        most: int | None = None,
    ) -> Iterator[Segment]:
        """Yield the statistics of weights, all together or block by block."""
        calibration = Calibration(self.model, self._requested(requests), schedule, requests, loss_fn)
        return calibration.segments(data, fewest=fewest, most=schedule.most(most))

    def describe_schedule(
        self,
        schedule: Schedule,
        requests: Requests,
        data: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,
        *,
        most: int | None = None,
    ) -> SchedulePlan:
        """Return what `segments` will do."""
        calibration = Calibration(self.model, self._requested(requests), schedule, requests, loss_fn)
        return calibration.plan(data, most=schedule.most(most))

    def _requested(self, requests: Requests) -> list[TorchWeight]:
        return [self._named(name) for name in requests]

    def _named(self, name: str) -> TorchWeight:
        """Return the weight of a name, which may be another parameter of a module that has a weight."""
        weight = self.weight(name)
        if weight is not None:
            assert isinstance(weight, TorchWeight)
            return weight
        module, _, parameter = name.rpartition(".")
        for other in self._weights:
            if any(place.module_name == module and hasattr(place.module, parameter) for place in other.places):
                return sibling(other, parameter)
        raise PlanError(f"the model has no weight {name!r}{did_you_mean(name, self._by_name)}")

    @property
    def knows_activations(self) -> bool:  # type: ignore[override]
        """Whether there are example inputs, on which the calls of the model can be recorded."""
        return self._example_inputs is not None

    @cached_property
    def graph(self) -> CallGraph:
        """The calls of the model.

        Raises:
            PlanError: there are no example inputs, or the model fails on them.
        """
        if self._example_inputs is None:
            raise PlanError(
                "activations are found by running the model once; pass example_inputs=<a tensor, a tuple or a dict of "
                "inputs, or a shape>"
            )
        return record(self.model, self._example_inputs)

    @cached_property
    def normalized_layers(self) -> dict[str, Normalized]:
        """The layers with a batch normalization behind them, by module; none where there are no example inputs."""
        return normalized_layers(self.graph) if self.knows_activations else {}

    @cached_property
    def _sites(self) -> list[TorchSite]:
        return sites(self.graph)

    def activations(self) -> list[TorchSite]:
        """Return every unit of calls whose activations can be quantized."""
        return self._sites

    def activations_in_float(self) -> dict[str, str]:
        """Return the kind of every call whose activations stay in float, by the name of its site."""
        return in_float(self.graph)

    def quantize_activations(self, chosen: Mapping[str, tuple[Any, Any]], data: Iterable[Any]) -> list[str]:
        """Calibrate the activations of the chosen sites, and quantize them from now on."""
        return quantize_activations(self.model, self.graph, chosen, data)

    @property
    def activation_obstacle(self) -> str | None:
        """Say that activations are quantized already."""
        if not quantizing_modes(self.model):
            return None
        return (
            "activations of the model are quantized already, or are being trained by another run; "
            "quantize all of them in one stage, from the model as it was before"
        )

    def take_activations(self, other: Self) -> None:
        """Quantize the activations as they are in a copy of the model, which is used no more."""
        for mode in quantizing_modes(other.model):
            adopt(self.model, mode)

    @property
    def copy_obstacle(self) -> str | None:
        """Why the model cannot be copied, with the ways out, or None."""
        found = uncopyable(self.model)
        return described(found) if found else None

    def copy(self, rewritten: Iterable[Weight] = (), *, temporary: bool = False) -> Self:
        """Return the target of a copy of the model, in which the parameters of `rewritten` share memory for now.

        A `temporary` copy shares with the model what cannot be copied.
        """
        lent = {
            id(weight.parameter): nn.Parameter(weight.tensor, requires_grad=weight.parameter.requires_grad)
            for weight in rewritten
            if isinstance(weight, TorchWeight) and _can_be_lent(weight.parameter)
        }
        other = self.beside(copied(self.model, lent, temporary=temporary), private=True)
        other._lent = [(parameter, parameter.data_ptr()) for parameter in lent.values()]
        return other

    def beside(self, model: nn.Module, *, private: bool = False) -> Self:
        """Return the target of a copy of the model, which makes the same calls."""
        other = type(self)(model, private=private, example_inputs=self._example_inputs)
        if "graph" in vars(self):
            vars(other)["graph"] = self.graph
        return other

    def _settle(self) -> None:
        """Give memory of their own to parameters that still share that of the model which was copied."""
        for parameter, address in self._lent:
            if parameter.data_ptr() == address:
                parameter.data = parameter.data.clone()
        self._lent = []

    def require_idle(self, weights: Iterable[Weight]) -> None:
        """Refuse weights with simulators, which a run in training has attached."""
        for weight in weights:
            if isinstance(weight, TorchWeight) and simulation.simulators(weight):
                raise StateError(f"{weight.name} is in training; call finalize() of the run that prepared it first")

    def conflicts(self, weights: Sequence[Weight]) -> list[str]:
        """Return a problem for every weight that shares memory with another parameter or a buffer of the model.

        A buffer over several parameters is no problem: it is the memory in which they all lie.
        """
        mine = {weight.identity: weight for weight in weights if isinstance(weight, TorchWeight)}
        parameters: dict[int, tuple[str, torch.Tensor]] = {
            id(value): (name, value) for name, value in self.model.named_parameters()
        }
        parameters |= {identity: (weight.name, weight.tensor) for identity, weight in mine.items()}
        buffers = {
            id(value): (name, value) for name, value in self.model.named_buffers() if id(value) not in parameters
        }
        tensors = parameters | buffers
        identities, named = list(tensors), list(tensors.values())
        pairs = list(overlapping([tensor for _, tensor in named]))
        covered = Counter(other for one, other in pairs if identities[one] in parameters)
        return [
            _shared_memory(named[one][0], named[other][0], identities[other] in buffers)
            for one, other in pairs
            if (identities[one] in mine or identities[other] in mine)
            and (identities[other] in parameters or covered[other] == 1)
        ]

    @property
    def made_by(self) -> Mapping[str, str] | None:
        """What earlier runs have stored about themselves."""
        found: Mapping[str, str] | None = vars(self.model).get(metadata.PROVENANCE)
        return found

    def result(self, made_by: Mapping[str, str] | None = None) -> nn.Module:
        """Return the model, marked with the version of the metadata and with what made it."""
        self._settle()
        metadata.mark_version(self.model)
        if made_by is not None:
            vars(self.model)[metadata.PROVENANCE] = dict(made_by)
        return self.model


def _can_be_lent(parameter: torch.Tensor) -> bool:
    """Tell whether another parameter may share the memory for a while."""
    return type(parameter) is nn.Parameter and not parameter.is_inference()


def _shared_memory(name: str, other: str, is_buffer: bool) -> str:
    """Return the problem of a parameter in the memory of another one, or of a buffer."""
    if is_buffer:
        return (
            f"{name} and the buffer {other} are in the same memory, so that writing the weight changes the buffer; "
            "give the buffer its own memory (model.buffer = model.buffer.clone())"
        )
    return (
        f"{name} and {other} are two parameters in the same memory, so that writing one changes the other; make them "
        "one parameter (model.b.weight = model.a.weight) or give each its own memory "
        "(model.b.weight = nn.Parameter(model.b.weight.detach().clone()))"
    )


def _why_not(module: nn.Module, value: torch.Tensor) -> str:
    if value.ndim < 2:
        return "biases and other vectors are not compressed"
    return f"it is no weight of {type(module).__name__}; biases are not compressed"
