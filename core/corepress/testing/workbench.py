"""One configuration of one algorithm at work on the weights of one model, weight by weight."""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import attrs
from torch import Tensor, nn

from corepress.algorithm import EncodeRequest, WeightView, encodes_together, generator_for
from corepress.calibration import collect
from corepress.encoding import Dense, Slot, Sparse, WeightEncoding, slot_for
from corepress.pipeline import Pipeline, Stage
from corepress.pipeline.encoder import view_of
from corepress.plugin import AlgorithmSpec, registry
from corepress.targets import TorchTarget, TorchWeight


@attrs.frozen(eq=False)
class Workbench:
    """Call an algorithm as a pipeline of one stage does, one weight at a time.

    `config` is a module configuration as a mapping; it is used for the whole model.
    """

    algorithm: str
    config: Mapping[str, Any]
    model: nn.Module
    data: Iterable[Any]
    loss_fn: Callable[[nn.Module, Any], Tensor]

    @cached_property
    def pipeline(self) -> Pipeline:
        """The pipeline of the algorithm alone."""
        return Pipeline([Stage(self.algorithm, {"global_config": self.config})])

    @cached_property
    def module_config(self) -> Any:
        """The configuration as the algorithm gets it."""
        return self.pipeline.stages[0].config.global_config  # type: ignore[union-attr]

    @cached_property
    def implementation(self) -> Any:
        """The algorithm."""
        return self.spec.load_implementation()

    @cached_property
    def spec(self) -> AlgorithmSpec:
        """The algorithm's descriptor."""
        return registry().find(self.algorithm)

    @cached_property
    def weights(self) -> dict[str, TorchWeight]:
        """The weights that the algorithm accepts, by name."""
        example = next(iter(self.data)) if "activations" in self.spec.acts_on else None
        accepted = {row.name for row in self.pipeline.plan(self.model, example_inputs=example).done}
        assert accepted, (
            f"the algorithm accepts no weight of {type(self.model).__name__} with {dict(self.config)!r}; "
            "set `models` to networks that the contract can try it on"
        )
        return {name: weight for name, weight in self._handles(self.model).items() if name in accepted}

    def handles_on(self, model: nn.Module) -> dict[str, TorchWeight]:
        """Return the same weights of a copy or a result of the model."""
        handles = self._handles(model)
        return {name: handles[name] for name in self.weights}

    def _handles(self, model: nn.Module) -> dict[str, TorchWeight]:
        target = TorchTarget(model)
        parameter = getattr(self.implementation, "parameter", lambda _: None)(self.module_config)
        handles = target.weights()
        if parameter is not None:
            owners = [w for w in handles if all(hasattr(module, parameter) for module in w.modules)]
            handles = [target.sibling(weight, parameter) for weight in owners]
        return {weight.name: weight for weight in handles}

    @cached_property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """The statistics that the algorithm asks for, by weight name."""
        specs = getattr(self.implementation, "statistics", lambda _: ())(self.module_config)
        requests = dict.fromkeys(self.weights, specs) if specs else {}
        return collect(self.model, list(self.weights.values()), requests, self.data, self.loss_fn) if requests else {}

    def slot(self, name: str, values: Tensor | None = None, mask: Tensor | None = None) -> Slot:
        """Return what the stage encodes of a weight: its own values or others, sparse when there is a mask."""
        dense = Dense((self.weights[name].read() if values is None else values).clone())
        return slot_for(dense if mask is None else Sparse(mask, dense), self.spec.produces)

    def view(self, name: str, values: Tensor | None = None, mask: Tensor | None = None) -> WeightView:
        """Return the view that the algorithm gets of a weight."""
        return view_of(self.weights[name], self.slot(name, values, mask))

    def encode(
        self,
        name: str,
        values: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        view: WeightView | None = None,
        implementation: Any = None,
    ) -> WeightEncoding:
        """Return the algorithm's encoding of a weight, before it is composed with what the weight was."""
        request = self._request(name, self.view(name, values, mask) if view is None else view)
        encoding: WeightEncoding = (implementation or self.implementation).encode(
            request.weight, request.config, request.statistics, request.rng
        )
        return encoding

    def encode_together(self) -> dict[str, WeightEncoding]:
        """Return the algorithm's encodings of all weights at once, none where it has no way of its own for that."""
        if not encodes_together(self.implementation):
            return {}
        requests = [self._request(name, self.view(name)) for name in self.weights]
        return dict(zip(self.weights, self.implementation.encode_together(requests), strict=True))

    def _request(self, name: str, view: WeightView) -> EncodeRequest:
        rng = generator_for(0, f"{self.spec.name}:0", name)
        return EncodeRequest(view, self.module_config, self.statistics.get(name, {}), rng)
