"""Gather the statistics of a program's weights by taps on the operations that read them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice, pairwise
from typing import Any

from corepress.algorithm import Statistic, StatisticSpec
from corepress.blame import class_name
from corepress.calibration import Requests, Schedule, SchedulePlan, Segment
from corepress.calibration.batches import check_data, check_number, is_read_once, kept, numbered
from corepress.calibration.gathering import Results, created, result_of, show_input
from corepress.calibration.nested import nbytes
from corepress.calibration.sharing import Sharing
from corepress.calibration.spool import Spool
from corepress.calibration.undisturbed import random_state_kept
from corepress.config.suggestions import did_you_mean
from corepress.coreml.calibration_blocks import Stretch, stretches
from corepress.coreml.calibration_inputs import program_input
from corepress.coreml.feeding import by_name
from corepress.coreml.interpreter.stretches import Alive, StretchedExecutable
from corepress.coreml.weights import CoreMLWeight, Use
from corepress.errors import CorepressError, ExportError, PlanError, PluginError


def why_not_gathered(spec: StatisticSpec) -> str | None:
    """Return why a statistic cannot be gathered in a program, or None."""
    if spec.needs == "loss":
        return f"{spec.name} needs gradients of a loss, which a Core ML program cannot give"
    if spec.reads_modules:
        return f"{spec.name} reads the inputs of torch modules; let its class override observe(seen)"
    return None


class ProgramCalibration:
    """The statistics that were requested of weights of a program.

    `weights` are all weights of the program. `description` describes its inputs. corepress prepares the program once,
    and exchanges the weights that stages write between two segments.

    Raises:
        PlanError: the program has no such weight, a statistic cannot be gathered in a program, or blocks match nothing.
    """

    def __init__(
        self,
        program: Any,
        weights: Sequence[CoreMLWeight],
        schedule: Schedule,
        requests: Requests,
        description: Any = None,
    ) -> None:
        reasons = dict.fromkeys(why for specs in requests.values() for spec in specs if (why := why_not_gathered(spec)))
        if reasons:
            raise PlanError("; ".join(reasons))
        self._all = {weight.name: weight for weight in weights}
        for name in requests:
            if name not in self._all:
                raise PlanError(f"the program has no weight {name!r}{did_you_mean(name, self._all)}")
        self._weights = [self._all[name] for name, specs in requests.items() if specs]
        self._requests = requests
        self._schedule = schedule
        written = [weight for weight in weights if weight.pending is not None]
        self._exchanged = {weight.name: weight for weight in (*written, *self._weights)}
        self._listeners: dict[str, list[Any]] = {}
        taps = {use.op.name: partial(self._tapped, use.op.name) for weight in self._weights for use in weight.uses}
        biases = [weight.bias_var.name for weight in self._exchanged.values() if weight.bias_var is not None]
        self._executable = StretchedExecutable(
            program, outputs=(), taps=taps, exchangeable=(*self._exchanged, *biases), description=description
        )
        self._stretches = self._cut()
        self._sharing = Sharing()
        self._number = 0

    def plan(self, data: Iterable[Any] | None, *, most: int | None) -> SchedulePlan:
        """Return what `segments` will do; the first batch of data that can be read again is run."""
        peak = max((self._nbytes(stretch.weights) for stretch in self._stretches), default=0)
        if self._schedule.mode == "together":
            return SchedulePlan(way="together", passes=1, peak_bytes=peak)
        replayed = sum(after.start < before for before, after in _neighbours(self._stretches))
        if data is not None:
            check_data(data)
        if data is not None and not is_read_once(data):
            count = min((n for n in (_length(data), most) if n is not None), default=1)
            inputs = self._alive_bytes(data) * count
            peak += inputs if self._schedule.memory is None else min(inputs, self._schedule.memory)
        names = tuple(stretch.name for stretch in self._stretches if stretch.name)
        return SchedulePlan(way="cached", passes=2 + replayed, peak_bytes=peak, blocks=names)

    def segments(self, data: Iterable[Any], *, fewest: int, most: int | None) -> Iterator[Segment]:
        """Return the segments, after everything that can be checked beforehand."""
        check_data(data)
        return self._gather(data, fewest, most)

    def _gather(self, data: Iterable[Any], fewest: int, most: int | None) -> Iterator[Segment]:
        with ExitStack() as stack:
            alive = stack.enter_context(Spool(self._schedule.memory))
            if is_read_once(data) and len(self._stretches) > 1:
                data = stack.enter_context(kept(data, most, self._schedule.memory))
            reached = 0
            for position, stretch in enumerate(self._stretches):
                cached = bool(len(alive)) and reached <= stretch.start
                source: Iterable[Alive] = alive if cached else self._begun(data, most)
                found, batches = self._statistics(stretch, source, reached if cached else 0)
                if not position:
                    check_number(batches, fewest)
                yield Segment(tuple(found), found, stretch.name)
                # One segment's statistics are in memory at a time.
                del found
                following = self._stretches[position + 1] if position + 1 < len(self._stretches) else None
                if following is not None and following.start >= reached:
                    self._advance(alive, data, most, reached, following.start)
                    reached = following.start

    def _statistics(self, stretch: Stretch, source: Iterable[Alive], start: int) -> tuple[Results, int]:
        """Run a stretch on every batch, and show statistics what its layers read."""
        asked = {w.name: created(self._requests[w.name], w.facts) for w in stretch.weights}
        self._listeners = {}
        for weight in stretch.weights:
            for use in weight.uses:
                self._listeners.setdefault(use.op.name, []).append((weight, use, list(asked[weight.name].values())))
        self._exchange()
        batches = 0
        for number, values in enumerate(source):
            self._number = number
            self._run(values, start, max(stretch.stop, start))
            self._sharing.clear()
            batches += 1
        self._listeners = {}
        return {
            name: {spec.name: result_of(s, name) for spec, s in specs.items()} for name, specs in asked.items()
        }, batches

    def _advance(self, alive: Spool, data: Iterable[Any], most: int | None, start: int, stop: int) -> None:
        """Move the values that are kept of every batch on to another step, by the weights as they are now."""
        self._exchange()
        if not len(alive):
            for number, values in enumerate(self._begun(data, most)):
                self._number = number
                alive.append(self._run(values, 0, stop))
            return
        for number in range(len(alive)):
            self._number = number
            alive[number] = self._run(alive[number], start, stop)

    def _begun(self, data: Iterable[Any], most: int | None) -> Iterator[Alive]:
        """Yield the values in front of the first step, for every batch."""
        with random_state_kept():
            for number, batch in numbered(data, most):
                try:
                    inputs = by_name(batch, self._executable.inputs)
                    values = self._executable.begin(inputs)
                except ExportError as error:
                    raise ExportError(f"batch {number} of the calibration data: {error}") from error
                yield values

    def _run(self, values: Alive, start: int, stop: int) -> Alive:
        try:
            return self._executable.go_on(values, start, stop)
        except ExportError as error:
            raise ExportError(f"batch {self._number} of the calibration data: {error}") from error

    def _tapped(self, op_name: str, arguments: Mapping[str, Any]) -> None:
        listeners: list[tuple[CoreMLWeight, Use, list[Statistic]]] = self._listeners.get(op_name, [])
        for weight, use, statistics in listeners:
            seen = program_input(use, weight.facts, arguments, self._sharing)
            for statistic in statistics:
                try:
                    show_input(statistic, seen, weight.name, self._number)
                except CorepressError:
                    raise
                except Exception as error:
                    # Any other error would be taken for one of the operation.
                    raise PluginError(
                        f"batch {self._number} of the calibration data: {class_name(statistic)} failed on the input of "
                        f"{weight.name}: {type(error).__name__}: {error}"
                    ) from error

    def _exchange(self) -> None:
        """Give the prepared program the values that its weights have now."""
        for name, weight in self._exchanged.items():
            if weight.pending is not None:
                self._executable.exchange(name, weight.read())
            if weight.pending_bias is not None:
                self._executable.exchange(weight.bias_var.name, weight.bias)

    def _cut(self) -> list[Stretch]:
        positions = self._executable.positions()
        patterns = () if self._schedule.mode == "together" else self._schedule.blocks
        return stretches(self._weights, patterns, positions, self._all.values())

    def _alive_bytes(self, data: Iterable[Any]) -> int:
        """Return the most bytes that are alive between two stretches, for the first batch."""
        most = reached = 0
        for values in self._begun(islice(data, 1), 1):
            most = nbytes(values)
            for stretch in self._stretches:
                if stretch.start > reached:
                    values = self._run(values, reached, stretch.start)
                    reached, most = stretch.start, max(most, nbytes(values))
        return most

    def _nbytes(self, weights: Sequence[CoreMLWeight]) -> int:
        return sum(spec.nbytes(weight.facts) for weight in weights for spec in self._requests[weight.name])


def _neighbours(cut: Sequence[Stretch]) -> Iterator[tuple[int, Stretch]]:
    """Yield each stretch but the first, with the farthest start before it."""
    reached = 0
    for before, after in pairwise(cut):
        reached = max(reached, before.start)
        yield reached, after


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None
