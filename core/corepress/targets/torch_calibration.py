"""Gather the statistics of a torch model as a schedule says: in one pass, or block by block."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from corepress.calibration import Requests, Schedule, SchedulePlan, Segment, collect
from corepress.calibration.batches import LossFunction, check_data
from corepress.errors import PlanError
from corepress.targets.torch_weights import TorchWeight


class Calibration:
    """The statistics that were requested of weights of a model.

    Raises:
        PlanError: a statistic needs a loss and there is none.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: Sequence[TorchWeight],
        schedule: Schedule,
        requests: Requests,
        loss_fn: LossFunction | None,
    ) -> None:
        self._model = model
        self._weights = [weight for weight in weights if requests[weight.name]]
        self._schedule = schedule
        self._requests = requests
        self._loss_fn = loss_fn
        if loss_fn is None and any(spec.needs == "loss" for specs in requests.values() for spec in specs):
            raise PlanError("a statistic needs gradients of a loss; pass loss_fn=lambda model, batch: ...")

    def plan(self, data: Iterable[Any] | None, *, most: int | None) -> SchedulePlan:  # noqa: ARG002
        """Return what `segments` will do with the data."""
        nbytes = sum(spec.nbytes(weight.facts) for weight in self._weights for spec in self._requests[weight.name])
        return SchedulePlan(way="together", passes=1, peak_bytes=nbytes)

    def segments(self, data: Iterable[Any], *, fewest: int, most: int | None) -> Iterator[Segment]:
        """Return the segments, after everything that can be checked beforehand."""
        check_data(data)
        return self._together(data, fewest, most)

    def _together(self, data: Iterable[Any], fewest: int, most: int | None) -> Iterator[Segment]:
        found = collect(self._model, self._weights, self._requests, data, self._loss_fn, fewest=fewest, most=most)
        yield Segment(tuple(found), found)
