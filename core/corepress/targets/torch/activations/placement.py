"""Placement: which activations of a call graph are quantized, and which of them share a quantizer.

The rules are those of integer inference: the inputs and the result of a layer are quantized; batch normalization and an
activation function behind a layer belong to it; pools and concatenations share one quantizer with what they read.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property

import attrs

from corepress.algorithm import SiteFacts
from corepress.targets.torch.activations.call_graph import Call, CallGraph, Point, Site

_FUSED = {"layer": ("normalization", "activation"), "binary": ("activation",), "normalization": ("activation",)}
"""What may follow an operation of a role as a part of it, in this order."""

_KEEPS_SIGN = ("add", "mul")


@attrs.frozen(eq=False)
class Unit:
    """Calls that are quantized as one: a layer with the normalization and the activation function behind it."""

    calls: tuple[Call, ...]

    @property
    def first(self) -> Call:
        """The call that reads the inputs; its configuration counts."""
        return self.calls[0]

    @property
    def last(self) -> Call:
        """The call that computes the result."""
        return self.calls[-1]

    @property
    def is_shared(self) -> bool:
        """Whether its result has the quantizer of its inputs."""
        return self.first.operation.role == "shared"

    @property
    def output(self) -> Point:
        """The result."""
        return Point(self.last.site, "output")

    @property
    def normalization(self) -> Call | None:
        """The batch normalization behind the layer."""
        return next((call for call in self.calls[1:] if call.operation.role == "normalization"), None)


@attrs.frozen(eq=False)
class Group:
    """Activations that share a quantizer; `owners` are the sites whose configuration may make it, in order."""

    points: tuple[Point, ...]
    owners: tuple[Site, ...]
    facts: SiteFacts


def units(graph: CallGraph) -> list[Unit]:
    """Return the units of a graph that can be quantized, in the order of the calls."""
    taken: set[int] = set()
    found = []
    for call in graph.calls:
        if id(call) in taken or call.in_float or call.operation.role in ("moved", "lookup"):
            continue
        unit = Unit((call, *_followers(graph, call)))
        taken |= {id(each) for each in unit.calls}
        found.append(unit)
    return found


def _followers(graph: CallGraph, first: Call) -> Iterator[Call]:
    if first.scalars:
        # Arithmetic with a number is no operation that runtimes fuse with what follows.
        return
    last = first
    for role in _FUSED.get(first.operation.role, ()):
        following = graph.only_reader(last.writes)
        if following is not None and following.operation.role == role and not _is_alone(following):
            yield following
            last = following


def _is_alone(call: Call) -> bool:
    return call.in_float or call.operation.kind == "exp2"


def place(graph: CallGraph, chosen: Callable[[Site], bool]) -> list[Group]:
    """Return the activations to quantize, in groups, when the units of the `chosen` sites are quantized."""
    return _Placement(graph, [unit for unit in units(graph) if chosen(unit.first.site)]).groups()


class _Placement:
    """Finds the activations of chosen units, and joins those that share a quantizer."""

    def __init__(self, graph: CallGraph, chosen: Collection[Unit]) -> None:
        self._graph = graph
        self._units = chosen
        self._outputs = {value: unit for unit in chosen for value in unit.last.writes[:1]}
        self._joined: dict[Point, Point] = {}
        self._owners: dict[Point, list[Site]] = {}
        self._of_value: dict[int, Point] = {}

    def groups(self) -> list[Group]:
        """Return the groups, in the order of their first activations."""
        for unit in self._units:
            for read in unit.first.reads:
                self._add(self._point_read(unit, read.index, read.value), unit)
            self._add(unit.output, unit)
            if unit.is_shared:
                for read in unit.first.reads:
                    self._join(unit.output, self._point_read(unit, read.index, read.value))
        return [self._group(points) for points in self._members.values()]

    def _point_read(self, unit: Unit, index: int, value: int) -> Point:
        """Return where what a unit reads is quantized: behind what computes it, or before the unit."""
        source = self._source(value)
        producer = self._outputs.get(source)
        if producer is not None:
            return producer.output
        point = Point(unit.first.site, "input", index)
        # Units that read the same value share its quantizer.
        self._join(point, self._of_value.setdefault(source, point))
        return point

    def _source(self, value: int) -> int:
        """Return the value of which another one is a view, a part, or what dropout leaves."""
        call = self._graph.producers.get(value)
        while call is not None and call.operation.role == "moved" and call.reads:
            value = call.reads[0].value
            call = self._graph.producers.get(value)
        return value

    def _add(self, point: Point, unit: Unit) -> None:
        self._joined.setdefault(point, point)
        if point == unit.output or point.role == "input":
            self._owners.setdefault(point, []).append(unit.first.site)

    def _join(self, one: Point, other: Point) -> None:
        self._joined[self._root(one)] = self._root(other)

    def _root(self, point: Point) -> Point:
        parent = self._joined.setdefault(point, point)
        while parent != self._joined[parent]:
            parent = self._joined[parent]
        return parent

    @cached_property
    def _members(self) -> dict[Point, list[Point]]:
        found: dict[Point, list[Point]] = {}
        for point in self._joined:
            found.setdefault(self._root(point), []).append(point)
        return found

    def _group(self, points: Iterable[Point]) -> Group:
        points = tuple(points)
        first = points[0]
        owners = tuple(dict.fromkeys(site for point in points for site in self._owners.get(point, ())))
        return Group(
            points,
            owners,
            SiteFacts(
                name=str(first),
                kind=first.site.kind,
                role="input" if first.role == "input" else "output",
                non_negative=self._root(first) in self._non_negative,
                fixed_range=self._fixed_range(points),
            ),
        )

    def _fixed_range(self, points: Iterable[Point]) -> tuple[float, float] | None:
        found = [self._by_output.get(point) for point in points]
        ranges = {
            None if unit is None else unit.last.operation.fixed_range
            for unit in found
            if unit is None or not unit.is_shared
        }
        return ranges.pop() if len(ranges) == 1 else None

    @cached_property
    def _non_negative(self) -> set[Point]:
        """The groups, by their root, of which no member is ever negative."""
        found = set(self._members)
        while True:
            kept = {root for root in found if all(self._is_non_negative(p, found) for p in self._members[root])}
            if kept == found:
                return found
            found = kept

    def _is_non_negative(self, point: Point, assumed: Collection[Point]) -> bool:
        unit = self._by_output.get(point)
        if unit is None:
            return False
        if unit.is_shared or unit.last.non_negative:
            return True
        if unit.last.operation.kind not in _KEEPS_SIGN or unit.last.scalars:
            return False
        roots = (self._root(self._point_read(unit, read.index, read.value)) for read in unit.last.reads)
        return all(root in assumed for root in roots)

    @cached_property
    def _by_output(self) -> dict[Point, Unit]:
        return {unit.output: unit for unit in self._units}
