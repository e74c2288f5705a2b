"""Other stages before this one: legal orders work, the others are refused in the plan."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding
from corepress.errors import PlanError
from corepress.testing.snapshot import Snapshot
from corepress.testing.subject import ContractSubject, concerns


def _pruned(values: Tensor) -> WeightEncoding:
    return Sparse(values.abs() > values.abs().median(), Dense(values))


def _palettized(values: Tensor) -> WeightEncoding:
    largest = values.abs().max()
    table = torch.linspace(-1, 1, 16) * largest
    indices = ((values / largest + 1) * 7.5).round().to(torch.uint8)
    return Palettized(indices, Dense(table.reshape(*(1 for _ in values.shape), 16, 1)), 4)


def _quantized(values: Tensor) -> WeightEncoding:
    scale = values.abs().max().reshape([1] * values.ndim) / 127
    return Affine((values / scale).round().to(torch.int8), scale)


class CompositionChecks(ContractSubject):
    """Checks on weights that are compressed already."""

    @concerns("weight")
    def test_it_works_on_a_pruned_weight_or_refuses_it_in_the_plan(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The zeros survive in the model, too."""
        self._check_after(_pruned, config, make_model())

    @concerns("weight")
    def test_it_works_on_a_palettized_weight_or_refuses_it_in_the_plan(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A look-up table may be pruned over or quantized."""
        self._check_after(_palettized, config, make_model())

    @concerns("weight")
    def test_it_works_on_a_quantized_weight_or_refuses_it_in_the_plan(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Quantized weights may be pruned over or clustered."""
        self._check_after(_quantized, config, make_model())

    def _check_after(
        self, first: Callable[[Tensor], WeightEncoding], config: Mapping[str, Any], model: nn.Module
    ) -> None:
        bench = self.workbench(config, model)
        for weight in bench.weights.values():
            weight.write(first(weight.read()))
        before = Snapshot.of(model)
        refusal = ""
        try:
            small = self.compressed(config, model)
        except PlanError as error:
            refusal = str(error)
        if refusal:
            assert any(name in refusal for name in bench.weights), f"the refusal must name a weight: {refusal}"
            assert not before.differences(), "a plan that is refused must leave the model as it was"
            return
        for name, weight in bench.handles_on(small).items():
            after = weight.encoding().decode()
            assert bool(after.isfinite().all()), f"{name}: NaN or infinite values after an earlier stage"
            lost = after[bench.weights[name].read() == 0]
            assert first is not _pruned or not lost.any(), f"{name}: zeros of the earlier stage are lost"
