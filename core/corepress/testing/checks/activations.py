"""Activations: what observers and quantizers make of them, one by one and in a whole run."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from corepress.algorithm import ActivationQuantization, ActivationQuantizer, SiteFacts
from corepress.coreml import convert, run, verify
from corepress.errors import PlanError
from corepress.pipeline import Pipeline, Stage
from corepress.testing.randomness import global_random_state
from corepress.testing.snapshot import Snapshot, different_tensors
from corepress.testing.subject import ContractSubject, concerns

_SITE = SiteFacts(name="layer:linear.output", kind="linear")


def _activations(seed: int = 0) -> Tensor:
    return torch.randn(64, 16, generator=torch.Generator().manual_seed(seed))


ODD_ACTIVATIONS: Mapping[str, Tensor] = {
    "zeros": torch.zeros(4, 8),
    "a constant": torch.full((4, 8), 3.0),
    "no negative values": _activations().abs(),
    "no positive values": -_activations().abs(),
    "tiny values": _activations() * 2.0**-80,
    "huge values": _activations() * 2.0**80,
    "a single value": torch.ones(1),
}


class ActivationChecks(ContractSubject):
    """Checks of algorithms that quantize activations: after training by observers, or in training by quantizers."""

    @concerns("activation")
    @pytest.mark.parametrize("values", ODD_ACTIVATIONS.values(), ids=ODD_ACTIVATIONS)
    def test_every_range_of_activations_has_a_quantization(self, config: Mapping[str, Any], values: Tensor) -> None:
        """Scale and zero point are finite, and shown values are within half a step or at an end of the range."""
        _check_error(values, self._observed(config, values))

    @concerns("activation")
    def test_observers_that_are_merged_have_seen_what_both_have(self, config: Mapping[str, Any]) -> None:
        """Activations share a scale by merging their observers."""
        algorithm, module_config = self.implementation, self._module_config(config)
        both, first, second = (algorithm.observer(module_config) for _ in range(3))
        for observer, seeds in ((both, (0, 1)), (first, (0,)), (second, (1,))):
            for seed in seeds:
                observer.observe(_activations(seed))
        first.merge(second)
        assert algorithm.quantization(first, module_config) == algorithm.quantization(both, module_config), (
            "merge gives another quantization than seeing all values in one observer"
        )

    @concerns("activation")
    def test_an_observer_leaves_what_it_sees_unchanged(self, config: Mapping[str, Any]) -> None:
        """Activations belong to the model, which goes on to compute with them and may write to them."""
        values = _activations()
        before = values.clone()
        observer = self.implementation.observer(self._module_config(config))
        observer.observe(values)
        assert torch.equal(values, before), "observe changed the activation; work on a copy"
        expected = self.implementation.quantization(observer, self._module_config(config))
        values.zero_()
        assert self.implementation.quantization(observer, self._module_config(config)) == expected, (
            "what observe was given was written to later, and the quantization changed; keep no reference to it"
        )

    @concerns("activation", "quantizer")
    def test_the_unit_of_activations_does_not_matter(self, config: Mapping[str, Any]) -> None:
        """Activations multiplied by a power of two get a scale multiplied by it."""
        plain, larger = (self._quantization(config, _activations() * factor) for factor in (1.0, 1024.0))
        assert math.isclose(larger.scale, 1024 * plain.scale, rel_tol=1e-6)
        assert larger.zero_point == plain.zero_point

    @concerns("activation")
    def test_calibrating_leaves_the_given_model_untouched(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The result is a copy; calibration runs the model without a trace."""
        model = make_model()
        before = Snapshot.of(model)
        random = global_random_state()
        self.compressed(config, model)
        changed = before.differences()
        assert not changed, f"calibrating changed the given model: {', '.join(changed)}"
        assert global_random_state() == random, "calibrating draws from the global random state"

    @concerns("activation")
    def test_calibrating_in_place_gives_the_same(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The model itself computes what the copy computes."""
        model = make_model()
        batch = self.batches(model)[0]
        expected = self.compressed(config, model)(*batch)
        itself = self.compressed(config, model, inplace=True)
        assert itself is model
        assert torch.equal(model(*batch), expected), "inplace=True gives another result"

    @concerns("activation")
    def test_a_model_with_quantized_activations_is_close_and_exports(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The package quantizes the same activations; all three compute about the same."""
        model = make_model().eval()
        batch = self.batches(model)[0]
        small = self.compressed(config, model)
        _check_close(small(*batch), model(*batch))
        package = convert(small, batch, minimum_deployment_target="iOS17")
        assert "quantize" in _op_types(package), "the package quantizes no activation"
        verify(package, small, batch)

    @concerns("activation")
    def test_a_program_with_quantized_activations_is_close(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A Core ML program is calibrated like a torch model."""
        if "coreml" not in self.spec.targets:
            pytest.skip(f"{self.algorithm} does not work on Core ML programs")
        model = make_model().eval()
        batches = self.batches(model)
        package = convert(model, batches[0], minimum_deployment_target="iOS17")
        names = [described.name for described in package.get_spec().description.input]
        samples = [{name: t.numpy() for name, t in zip(names, batch, strict=True)} for batch in batches]
        small = self.pipeline(config).compress(package, data=samples)
        assert "quantize" in _op_types(small), "the program quantizes no activation"
        for output, other in zip(run(small, samples[0]).values(), run(package, samples[0]).values(), strict=True):
            _check_close(torch.as_tensor(output).float(), torch.as_tensor(other).float())

    @concerns("activation")
    def test_activations_that_are_nan_are_refused_by_their_site(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """No scale is made of NaN; the model is as it was."""
        model = make_model()
        name, bias = next((name, value) for name, value in model.named_parameters() if name.endswith("bias"))
        bias.data.fill_(math.nan)
        before = Snapshot.of(model)
        with pytest.raises(PlanError, match=r"NaN"):
            self.compressed(config, model, inplace=True)
        assert before.differences() == [name], "NaN is no longer there, or something else has changed"

    @concerns("activation")
    def test_every_calibrated_site_is_reported(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The report has a line for each operation whose activations are quantized."""
        pipeline = Pipeline([Stage(self.algorithm, {"global_config": config})])
        self.compressed(config, make_model(), pipeline=pipeline)
        rows = [row for row in pipeline.report().values() if row.kind.endswith("activations")]
        assert [row.name for row in rows if row.status == "compressed" and row.steps == (self.algorithm,)]

    @concerns("quantizer")
    def test_a_quantizer_that_has_seen_nothing_has_no_quantization(self, config: Mapping[str, Any]) -> None:
        """A scale of one would be a guess."""
        quantizer = self._quantizer(config)
        assert quantizer.quantization() is None, "quantization() must return None before any activation was seen"

    @concerns("quantizer")
    @pytest.mark.parametrize("values", ODD_ACTIVATIONS.values(), ids=ODD_ACTIVATIONS)
    def test_a_quantizer_shows_what_its_quantization_says(self, config: Mapping[str, Any], values: Tensor) -> None:
        """In evaluation mode an activation is shown as the finished model will have it."""
        quantizer = self._trained(config, values).eval()
        found = quantizer.quantization()
        assert found is not None
        # What was shown last may have moved the range once more.
        shown = quantizer(values)
        found = quantizer.quantization()
        assert found is not None
        torch.testing.assert_close(shown, _rounded(values, found), rtol=1e-6, atol=found.scale * 1e-3)

    @concerns("quantizer")
    def test_gradients_pass_a_quantizer(self, config: Mapping[str, Any]) -> None:
        """Values within the range get the gradient of what is shown."""
        quantizer = self._trained(config, _activations())
        values = (_activations() / 8).requires_grad_()
        quantizer(values).sum().backward()
        assert values.grad is not None
        torch.testing.assert_close(values.grad, torch.ones_like(values))

    @concerns("quantizer")
    def test_a_quantizer_goes_on_from_its_state(self, config: Mapping[str, Any]) -> None:
        """All state is in buffers and parameters."""
        one, other = self._trained(config, _activations()), self._quantizer(config)
        other.load_state_dict(copy.deepcopy(one.state_dict()))
        for quantizer in (one, other):
            quantizer(_activations(1))
            quantizer.step()
            quantizer(_activations(2))
        assert one.quantization() == other.quantization(), "a quantizer keeps state outside of buffers and parameters"
        assert not different_tensors(one, other)

    def _quantization(self, config: Mapping[str, Any], values: Tensor) -> ActivationQuantization:
        if "activation" in self.spec.kind:
            return self._observed(config, values)
        found = self._trained(config, values).quantization()
        assert found is not None
        return found

    def _observed(self, config: Mapping[str, Any], values: Tensor) -> ActivationQuantization:
        algorithm, module_config = self.implementation, self._module_config(config)
        observer = algorithm.observer(module_config)
        observer.observe(values)
        found: ActivationQuantization = algorithm.quantization(observer, module_config)
        return found

    def _quantizer(self, config: Mapping[str, Any]) -> ActivationQuantizer:
        quantizer: ActivationQuantizer | None = self.implementation.quantizer(_SITE, self._module_config(config))
        if quantizer is None:
            pytest.skip("the configuration leaves activations in float")
        return quantizer

    def _trained(self, config: Mapping[str, Any], values: Tensor) -> ActivationQuantizer:
        """Return a quantizer after as many steps as a training run takes, which has seen the same values in each."""
        quantizer = self._quantizer(config)
        for _ in range(self.steps):
            quantizer.step()
            quantizer(values)
        return quantizer

    def _module_config(self, config: Mapping[str, Any]) -> Any:
        return self.spec.load_config().from_dict({"global_config": dict(config)}).global_config


def _rounded(values: Tensor, quantization: ActivationQuantization) -> Tensor:
    low, high = quantization.bounds
    steps = (values.double() / quantization.scale).round() + quantization.zero_point
    return ((steps.clamp(low, high) - quantization.zero_point) * quantization.scale).float()


def _check_error(values: Tensor, quantization: ActivationQuantization) -> None:
    low, high = ((bound - quantization.zero_point) * quantization.scale for bound in quantization.bounds)
    error = (values.double() - _rounded(values, quantization).double()).abs()
    inside = (values >= low) & (values <= high)
    assert bool((error[inside] <= quantization.scale * 0.501).all()), "values in the range are off by more than a step"
    assert quantization.scale <= 1.01 * float(values.abs().max()) or not values.any(), "the scale is beyond all values"


def _check_close(found: Tensor, expected: Tensor) -> None:
    error = float((found - expected).norm() / expected.norm())
    assert error < 0.1, f"the outputs of the model change by {error:.1%} when activations are quantized"


def _op_types(package: Any) -> set[str]:
    from corepress.coreml.program import load_program

    return {op.op_type for op in load_program(package).functions["main"].operations}
