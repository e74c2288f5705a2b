"""What `encode` returns: the declared kind, of the predicted form, decodable."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from corepress.encoding.forms import BUILT_IN_FORMS, is_predicted
from corepress.encoding.packaged import packaged_form
from corepress.testing.subject import ContractSubject, concerns

_TARGETS = ("torch", "iOS16", "iOS18")


class EncodingChecks(ContractSubject):
    """Checks of the encoding itself."""

    @concerns("weight")
    def test_the_encoding_decodes_to_a_finite_float32_weight(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Decoding gives the weight's shape, in float32."""
        bench = self.workbench(config, make_model())
        for name, weight in bench.weights.items():
            decoded = bench.encode(name).decode()
            assert tuple(decoded.shape) == weight.shape, (
                f"{name}: shape {tuple(decoded.shape)}, the weight is {weight.shape}"
            )
            assert decoded.dtype == torch.float32, f"{name} decodes to {decoded.dtype}; encodings decode to float32"
            assert bool(decoded.isfinite().all()), f"{name} decodes to NaN or infinite values; guard divisions by zero"

    @concerns("weight")
    def test_the_encoding_is_of_the_declared_kind(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The planner has checked the order of stages by what the descriptor declares."""
        bench = self.workbench(config, make_model())
        for name in bench.weights:
            kind = bench.encode(name).kind
            assert self.is_declared(kind), (
                f"{name}: the descriptor declares {self.spec.produces!r}, encode returned a {kind} encoding; change one"
            )

    @concerns("weight")
    def test_the_prediction_is_the_form_of_the_result(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """What `predict` promises is what the plan shows and what targets are checked against."""
        bench = self.workbench(config, make_model())
        predict = getattr(self.implementation, "predict", lambda *_: None)
        for name, weight in bench.weights.items():
            predicted = predict(weight.facts, bench.module_config)
            found = bench.encode(name).form
            own = not isinstance(found, BUILT_IN_FORMS)
            assert predicted is not None or not own, (
                f"{name}: encode gave {found}, a form of its own, which only predict can tell the plan; define predict"
            )
            assert predicted is None or is_predicted(found, predicted, weight.facts.count), (
                f"{name}: predict said {predicted}, encode gave {found}; return None where the values decide"
            )

    @concerns("weight")
    def test_a_package_holds_the_scales(self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]) -> None:
        """Scales with more digits than half precision holds are stored as look-up tables, which are larger."""
        bench = self.workbench(config, make_model())
        for name in bench.weights:
            encoding = bench.encode(name)
            stored = packaged_form(encoding)
            assert stored == encoding.form, (
                f"{name}: a package stores {stored.describe()} in place of {encoding.form.describe()}; "
                "round the scales with corepress.encoding.portable_scale"
            )

    @concerns("weight")
    def test_bytes_are_those_of_the_form(self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]) -> None:
        """The size before and after the work follows from one formula."""
        bench = self.workbench(config, make_model())
        for name in bench.weights:
            encoding = bench.encode(name)
            for target in _TARGETS:
                stored, by_form = encoding.nbytes(target), encoding.form.nbytes(encoding.count, target)
                assert stored == by_form, f"{name} on {target}: nbytes is {stored}, its form says {by_form}"
