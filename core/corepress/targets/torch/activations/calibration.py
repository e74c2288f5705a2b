"""Quantize activations of a torch model after training: observe them over calibration data, then write the pairs."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from corepress.algorithm import ActivationAlgorithm, NonFiniteInputError, Observer
from corepress.blame import blamed, class_name
from corepress.calibration.batches import check_data, check_number, numbered, run_batch
from corepress.calibration.undisturbed import undisturbed
from corepress.targets.torch.activations.attachment import attach, detach
from corepress.targets.torch.activations.call_graph import CallGraph, Point
from corepress.targets.torch.activations.placement import place
from corepress.targets.torch.activations.quantized import QuantizedActivation

_OBSERVING, _FINISHED = "calibration", "calibrated"

Chosen = Mapping[str, tuple[ActivationAlgorithm, Any]]
"""An algorithm and its configuration by the name of a site."""


class _Observing(nn.Module):
    """Show an observer the activations, and leave them as they are."""

    def __init__(self, algorithm: ActivationAlgorithm, config: Any, site: str) -> None:
        super().__init__()
        self._algorithm, self._config, self._site = algorithm, config, site
        with self._blamed("made an observer"):
            self.observer: Observer = algorithm.observer(config)
        self.has_seen = False
        self.is_infinite = False

    def forward(self, values: Tensor) -> Tensor:
        """Return the values."""
        if values.numel():
            if bool(values.isnan().any()):
                raise NonFiniteInputError("some of its values are NaN; repair the model or the data first")
            self.is_infinite = self.is_infinite or bool(values.isinf().any())
            if not self.is_infinite:
                with self._blamed("observed activations"):
                    self.observer.observe(values.detach().to("cpu", torch.float32))
                self.has_seen = True
        return values

    def finished(self) -> QuantizedActivation:
        """Return what quantizes the activations by what was observed."""
        with self._blamed("found the quantization"):
            return QuantizedActivation(self._algorithm.quantization(self.observer, self._config))

    def _blamed(self, did: str) -> AbstractContextManager[None]:
        return blamed(class_name(self._algorithm), f"{did} of {self._site}")


def quantize_activations(model: nn.Module, graph: CallGraph, chosen: Chosen, data: Iterable[Any]) -> list[str]:
    """Observe the chosen activations over data, quantize them from now on, and return the sites that are left in float.

    These compute or read infinite values, as an attention mask has them, or nothing but empty ones.

    Raises:
        PlanError: the data is empty, a batch is of a wrong kind, or activations are NaN; nothing is quantized then.
    """
    check_data(data)
    groups = place(graph, lambda site: str(site) in chosen)
    makers = [chosen[str(group.owners[0])] for group in groups]
    observing = [_Observing(*maker, str(group.owners[0])) for maker, group in zip(makers, groups, strict=True)]
    recorded = {call.site for call in graph.calls}
    attach(model, _OBSERVING, {g.points: o for g, o in zip(groups, observing, strict=True)}, recorded)
    try:
        _run(model, data)
    finally:
        detach(model, _OBSERVING)
    finished: dict[tuple[Point, ...], nn.Module] = {}
    left: dict[str, None] = {}
    for group, seen in zip(groups, observing, strict=True):
        if seen.has_seen and not seen.is_infinite:
            finished[group.points] = seen.finished()
        else:
            left |= dict.fromkeys(map(str, group.owners))
    attach(model, _FINISHED, finished, recorded)
    return list(left)


def _run(model: nn.Module, data: Iterable[Any]) -> None:
    batches = 0
    with undisturbed(model), torch.no_grad():
        for number, batch in numbered(tqdm(data, "calibrating activations", delay=1, disable=None, leave=False)):
            run_batch(model, number, batch, None)
            batches += 1
    check_number(batches, 1)
