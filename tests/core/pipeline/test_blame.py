"""Whatever method of a plugin fails, the error says who was doing what, and with which weight or site."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.calibration import SecondMoment
from corepress.coreml import convert
from corepress.errors import PluginError
from corepress_plugins.quantization.activation.algorithm import RangeObserver, RangeQuantization
from corepress_plugins.quantization.gptq.algorithm import GPTQ
from corepress_plugins.quantization.linear_qat.algorithm import LinearQAT

BATCH = torch.ones(2, 32)
SAMPLE = {"input_1": BATCH.numpy()}
STAGE = "stage 1 (gptq) of plugin corepress/gptq"


def fail(*_, **__):
    raise RuntimeError("no idea")


def network():
    return nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 8))


@pytest.fixture(scope="module")
def package():
    return convert(network().eval(), (BATCH,))


def compressed(algorithm, model=None, data=(BATCH,)):
    pipeline = Pipeline([Stage(algorithm, {"global_config": {}})])
    return pipeline.compress(network() if model is None else model, data=data)


def note_of(work):
    with pytest.raises(RuntimeError, match="no idea") as caught:
        work()
    return caught.value.__notes__


STATISTICS = {
    "observe": "second_moment.SecondMoment was shown batch 0 of ",
    "result": "second_moment.SecondMoment gave its result for ",
    "__init__": "was created for ",
}


@pytest.mark.parametrize("method", STATISTICS)
def test_a_statistic_is_named_with_the_weight(method, monkeypatch):
    monkeypatch.setattr(SecondMoment, method, fail)
    assert any(f"{STATISTICS[method]}0.weight" in note for note in note_of(lambda: compressed("gptq")))


@pytest.mark.parametrize("method", ["result", "__init__"])
def test_a_statistic_of_a_package_is_named_with_the_weight(method, package, monkeypatch):
    monkeypatch.setattr(SecondMoment, method, fail)
    notes = note_of(lambda: compressed("gptq", package, [SAMPLE]))
    assert any(f"{STATISTICS[method]}var_0_weight_to_fp16" in note for note in notes)


def test_a_statistic_of_a_package_is_not_taken_for_its_operation(package, monkeypatch):
    monkeypatch.setattr(SecondMoment, "observe", fail)
    with pytest.raises(PluginError, match=r"SecondMoment failed on the input of var_0_weight_to_fp16: .* no idea$"):
        compressed("gptq", package, [SAMPLE])


def test_a_statistic_that_leaves_the_process_is_named(monkeypatch):
    def leave(*_):
        raise SystemExit(0)

    monkeypatch.setattr(SecondMoment, "observe", leave)
    with pytest.raises(PluginError, match=r"SecondMoment ended the process with SystemExit\(0\) while it was shown"):
        compressed("gptq")


@pytest.mark.parametrize(
    ("cls", "method", "doing"),
    [
        (RangeObserver, "observe", "observed"),
        (RangeQuantization, "quantization", "found the quantization of"),
    ],
)
@pytest.mark.parametrize("on_package", [False, True])
def test_an_observer_is_named_with_the_site(cls, method, doing, on_package, package, monkeypatch):
    monkeypatch.setattr(cls, method, fail)
    model, data = (package, [SAMPLE]) if on_package else (network(), [BATCH])
    notes = note_of(lambda: compressed("activation", model, data))
    assert any(doing in note and "corepress_plugins.quantization.activation" in note for note in notes)


def test_a_question_about_a_weight_is_named_with_it(monkeypatch):
    monkeypatch.setattr(GPTQ, "corrects_bias", fail)
    assert f"while {STAGE} was asked whether it corrects the bias of 0.weight" in note_of(lambda: compressed("gptq"))[0]


def test_a_quantizer_is_named_with_the_site(monkeypatch):
    monkeypatch.setattr(LinearQAT, "quantizer", fail)
    pipeline = Pipeline([Stage("linear_qat", {"global_config": {}})])
    notes = note_of(lambda: pipeline.prepare(network(), (BATCH,)))
    assert "stage 1 (linear_qat) of plugin corepress/linear_qat made a quantizer for" in notes[0]


def test_what_is_no_quantizer_is_refused(monkeypatch):
    monkeypatch.setattr(LinearQAT, "quantizer", lambda *_: nn.Identity())
    pipeline = Pipeline([Stage("linear_qat", {"global_config": {}})])
    with pytest.raises(PluginError, match=r"quantizer must return an ActivationQuantizer or None .* not Identity"):
        pipeline.prepare(network(), (BATCH,))


def test_an_error_that_takes_no_notes_is_still_raised(monkeypatch):
    def encode(*_, **__):
        error = ValueError("no luck")
        error.__notes__ = ("odd",)  # notes are added to lists only
        raise error

    monkeypatch.setattr(GPTQ, "encode", encode)
    with pytest.raises(ValueError, match="no luck"):
        compressed("gptq")
