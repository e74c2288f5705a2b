"""The activations of a torch model that a configuration may reach: one entry for each unit of calls."""

import attrs

from corepress.config import Alias, Subject
from corepress.targets.torch.activations.call_graph import Call, CallGraph, Site
from corepress.targets.torch.activations.operations import OPERATIONS
from corepress.targets.torch.activations.placement import units
from corepress.targets.torch.kinds import class_spellings


@attrs.frozen(eq=False)
class TorchSite:
    """A unit of calls whose activations can be quantized, under the site of its first call."""

    site: Site
    kind: str
    subject: Subject

    @property
    def name(self) -> str:
        """The name by which reports call it."""
        return str(self.site)


def sites(graph: CallGraph) -> list[TorchSite]:
    """Return what can be quantized, in the order of the calls; a site that is reached several times is one entry."""
    firsts = {unit.first.site: unit.first for unit in units(graph)}
    return [TorchSite(site, call.operation.kind, _subject(call)) for site, call in firsts.items()]


def _subject(call: Call) -> Subject:
    names = tuple(filter(None, (str(call.site), call.site.module)))
    types = (function_spellings(call.operation.kind), *class_spellings(call.module))
    return Subject(name=str(call.site), aliases=(Alias(names=names, types=types),))


def function_spellings(kind: str) -> frozenset[str]:
    """Return how a configuration may spell the functions of an operation, also those that change their input."""
    modules = ("torch", "torch.nn.functional", "torch.Tensor", "operator")
    in_place = (f"torch.{kind}_", f"torch.nn.functional.{kind}_", f"torch.Tensor.{kind}_", f"operator.i{kind}")
    return frozenset({kind, *(f"{module}.{kind}" for module in modules), *in_place})


def known_functions() -> frozenset[str]:
    """Return the spellings of the functions of all operations that can be quantized."""
    return frozenset[str]().union(*map(function_spellings, OPERATIONS))


def in_float(graph: CallGraph) -> dict[str, str]:
    """Return the operation of every call that stays in float because of what it is, by the name of its site."""
    return {
        str(call.site): call.operation.kind
        for call in graph.calls
        if call.operation.role == "float" and call.operation.kind in OPERATIONS
    }
