"""Unusual values: tiny, constant, zero, sparse, not finite."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from corepress.encoding import CompositionError, Form, SparseForm, compose_forms
from corepress.errors import WeightError
from corepress.pipeline.measuring import relative_error
from corepress.testing.subject import ContractSubject, concerns

_TINY = 2.0**-20


class ValueChecks(ContractSubject):
    """Checks that no assumption about magnitudes or spread is hidden in the algorithm."""

    @concerns("weight")
    def test_scaling_a_weight_scales_the_result(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The relative error of a weight does not depend on its magnitude."""
        bench = self.workbench(config, make_model())
        for name, weight in bench.weights.items():
            values = weight.read()
            error = relative_error(values, bench.encode(name).decode())
            tiny = relative_error(values * _TINY, bench.encode(name, values * _TINY).decode())
            assert tiny == pytest.approx(error, rel=1e-3, abs=1e-7), (
                f"{name}: the relative error is {error:.6f}, and {tiny:.6f} when all weights are multiplied by 2**-20; "
                "make thresholds and epsilons relative to the weight"
            )

    @concerns("weight")
    def test_a_weight_of_zeros_stays_zero(self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]) -> None:
        """Layers that were never trained are common."""
        bench = self.workbench(config, make_model())
        for name, weight in bench.weights.items():
            decoded = bench.encode(name, torch.zeros(weight.shape)).decode()
            assert not decoded.any(), f"{name}: zeros became {_first(decoded)}; guard scales and ranges against zero"

    @concerns("weight")
    def test_a_constant_weight_can_be_encoded(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A range of zero width must not lead to a division by zero."""
        bench = self.workbench(config, make_model())
        for name, weight in bench.weights.items():
            decoded = bench.encode(name, torch.full(weight.shape, 0.3)).decode()
            assert bool(decoded.isfinite().all()), f"{name}: a constant weight decodes to NaN or infinite values"

    @concerns("weight")
    def test_zeros_of_a_sparse_weight_stay_zero(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A later stage keeps every zero of an earlier one, down to a weight of which nothing is kept."""
        bench = self.workbench(config, make_model())
        for name, weight in bench.weights.items():
            values = weight.read()
            if not self._can_hold_zeros(bench.encode(name).form):
                continue
            for mask in (values.abs() > values.abs().median(), torch.zeros(weight.shape, dtype=torch.bool)):
                encoding = bench.encode(name, values * mask, mask)
                own = encoding.decode()[~mask]
                composed = bench.slot(name, values * mask, mask).rebuild(encoding).decode()
                assert not composed[~mask].any(), f"{name}: a pruned value became {_first(composed[~mask])}"
                assert self.spec.produces != "sparsity" or not own.any(), (
                    f"{name}: a pruned value became {_first(own)}; the mask of the result must lie within weight.mask"
                )

    @concerns("weight")
    def test_a_weight_that_is_not_finite_is_refused_by_name(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The user learns which layer to repair."""
        for value in (float("nan"), float("inf")):
            model = make_model()
            name, weight = next(iter(self.workbench(config, model).weights.items()))
            with torch.no_grad():
                weight.tensor.reshape(-1)[0] = value
            with pytest.raises(WeightError, match=name):
                self.compressed(config, model)

    def _can_hold_zeros(self, form: Form) -> bool:
        """Tell whether a pruned weight may take this form; the plan refuses the others."""
        try:
            compose_forms(SparseForm(0.5), self.spec.produces, form)
        except CompositionError:
            return False
        return True


def _first(values: Tensor) -> float:
    return float(values[values != 0].flatten()[0]) if values.any() else 0.0
