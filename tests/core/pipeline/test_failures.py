"""Runs that fail half-way, and calls in the wrong order: the model is as it was, the error says what to do."""

import copy

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.encoding import Dense
from corepress.errors import ConfigError, PlanError, PlanWarning, PluginError, StateError
from corepress.targets import TorchWeight


def fingerprint(model):
    """Everything that a failed run might have left behind."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    return state, [type(module) for module in model.modules()], [p.requires_grad for p in model.parameters()]


def same(left, right):
    return (
        left[0].keys() == right[0].keys()
        and all(torch.equal(left[0][key], right[0][key]) for key in left[0])
        and left[1:] == right[1:]
    )


@pytest.fixture
def breaking_transfer(monkeypatch):
    """Make the n-th transfer of a weight from the working copy to the model fail."""

    def broken_at(count):
        original, calls = TorchWeight.take, []

        def take(weight, other):
            calls.append(weight.name)
            if len(calls) == count:
                raise RuntimeError("the disk of dreams is full")
            original(weight, other)

        monkeypatch.setattr(TorchWeight, "take", take)

    return broken_at


def test_a_simulator_that_fails_leaves_nothing_behind(model, toys, monkeypatch):
    import toy_algorithms

    pruned = Pipeline([Stage("magnitude")]).compress(model)
    before = fingerprint(pruned)

    def broken(self, weight):
        raise RuntimeError("no idea")

    monkeypatch.setattr(type(toy_algorithms.SignPalette().simulate(None, None, None)), "refresh", broken)
    with pytest.raises(RuntimeError, match=r"no idea"):
        Pipeline([Stage("sign"), Stage("magnitude")]).prepare(pruned, inplace=True)
    assert same(fingerprint(pruned), before)


def test_a_simulator_that_finishes_as_something_else_is_named(model, toys, monkeypatch):
    import toy_algorithms

    simulator = type(toy_algorithms.SignPalette().simulate(None, None, None))
    pipeline = Pipeline([Stage("sign")])
    pipeline.prepare(model)
    monkeypatch.setattr(simulator, "encode", lambda self, weight: Dense(weight))
    with pytest.raises(PluginError, match="it declares 'palette', and encode made dense") as caught:
        pipeline.finalize()
    assert "while stage 1 (sign) of plugin" in caught.value.__notes__[0]


@pytest.mark.parametrize("made", [None, RuntimeError("no idea")])
def test_a_stage_that_makes_no_simulator_is_named_with_the_weight(model, toys, monkeypatch, made):
    import toy_algorithms

    def simulate(*_):
        if isinstance(made, Exception):
            raise made
        return made

    monkeypatch.setattr(toy_algorithms.SignPalette, "simulate", simulate)
    with pytest.raises((PluginError, RuntimeError), match=r"must return a Simulator, not NoneType|no idea") as caught:
        Pipeline([Stage("sign")]).prepare(model)
    assert "while stage 1 (sign) of plugin" in caught.value.__notes__[0]
    assert ".weight" in caught.value.__notes__[0]


def test_a_write_that_fails_in_place_is_undone(model, breaking_transfer):
    before = fingerprint(model)
    breaking_transfer(2)
    with pytest.raises(RuntimeError, match=r"dreams"):
        Pipeline([Stage("magnitude")]).compress(model, inplace=True)
    assert same(fingerprint(model), before)


def test_a_finalization_that_fails_in_place_is_undone(model, breaking_transfer):
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(model, inplace=True)
    pipeline.step()
    before = fingerprint(model)
    breaking_transfer(2)
    with pytest.raises(RuntimeError, match=r"dreams"):
        pipeline.finalize(inplace=True)
    assert {name: value.tolist() for name, value in model.state_dict().items()} == {
        name: value.tolist() for name, value in before[0].items()
    }
    pipeline.step()
    assert type(pipeline.finalize(inplace=True)[5]) is nn.Linear


def test_a_model_in_training_cannot_be_compressed(model):
    prepared = Pipeline([Stage("magnitude")]).prepare(model)
    with pytest.raises(StateError) as caught:
        Pipeline([Stage("kmeans")]).compress(prepared)
    assert str(caught.value) == "0.weight is in training; call finalize() of the run that prepared it first"


def test_preparing_twice_changes_nothing(model):
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(model, inplace=True)
    with pytest.warns(PlanWarning, match=r"^the model is prepared already; nothing is changed$"):
        assert pipeline.prepare(model, inplace=True) is model
    assert type(pipeline.finalize(inplace=True)[5]) is nn.Linear


def test_nothing_can_be_reported_before_a_run():
    with pytest.raises(StateError) as caught:
        Pipeline([Stage("magnitude")]).report()
    assert str(caught.value) == "there is nothing to report yet: call compress(model), or prepare(model) to train"


@pytest.mark.parametrize("verb", ["step", "state_dict"])
def test_a_run_ends_with_finalize_in_place(model, verb):
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(model, inplace=True)
    pipeline.finalize(inplace=True)
    with pytest.raises(StateError) as caught:
        getattr(pipeline, verb)()
    assert str(caught.value) == (
        f"{verb}() after finalize(inplace=True): the run has ended; call prepare(model) for a new one"
    )


def test_finalizing_what_is_final_changes_nothing(model):
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(model)
    final = pipeline.finalize()
    assert pipeline.finalize(final) is final


def test_the_report_follows_the_training_after_a_copy_was_finalized(model):
    steps = {"update_steps": [1, 2], "power": 1}
    pipeline = Pipeline([Stage("magnitude", {"global_config": {"scheduler": steps, "initial_sparsity": 0.25}})])
    pipeline.prepare(model)
    pipeline.step()
    pipeline.finalize()
    assert pipeline.report()["5.weight"].sparsity == 0.25
    pipeline.step()
    assert pipeline.report()["5.weight"].sparsity == 0.5


def test_what_is_left_out_is_warned_of_once(model):
    config = {"global_config": {"n_m_ratio": (2, 4), "param_name": "bias"}, "module_type_configs": {"Conv3d": {}}}
    with pytest.warns(PlanWarning) as caught:
        Pipeline([Stage("magnitude", config)]).compress(model)
    assert [str(warning.message) for warning in caught] == [
        "stage 1 (magnitude): module_type_configs['Conv3d'] matches no weight; "
        "3 of 6 weights were skipped: "
        "0.bias, 3.bias, 5.bias: magnitude: a 1-D parameter has no channels to prune; use granularity per_scalar; "
        "nothing is compressed: no rule reaches a weight that can be compressed as it asks"
    ]


def test_an_algorithm_for_other_targets_is_refused(model, toys):
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("elsewhere")]).plan(model)
    assert str(caught.value) == "stage 1 (elsewhere) works on coreml models, and this is a torch model"


def test_the_state_of_another_model_is_refused_whole(model):
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(model)
    state = pipeline.state_dict()
    smaller = Pipeline([Stage("magnitude")])
    smaller.prepare(nn.Sequential(nn.Linear(4, 4)))
    with pytest.raises(StateError) as caught:
        smaller.load_state_dict(state)
    assert str(caught.value) == "the state was saved for another model; it does not fit 0.weight, 3.weight, 5.weight"
    with pytest.raises(StateError) as caught:
        pipeline.load_state_dict({**state, "format": 99})
    assert str(caught.value) == "the state has format 99; this corepress reads format 1"


def test_wrong_arguments_are_named(model):
    with pytest.raises(ConfigError, match=r"^seed: must be an integer, got 'x'$"):
        Pipeline([Stage("magnitude")], seed="x")
    with pytest.raises(PlanError, match=r"^workers must be an integer from 1 on, got 0; leave it out"):
        Pipeline([Stage("magnitude")]).compress(model, workers=0)
    with pytest.raises(ConfigError, match=r"^a recipe is a mapping with the key 'stages', not list$"):
        Pipeline.from_dict([])


def test_the_provenance_of_earlier_runs_is_kept(model, toys):
    pruned = Pipeline([Stage("magnitude")]).compress(model)
    made = Pipeline([Stage("kmeans")]).compress(pruned)._corepress_provenance
    assert [part.split(":")[0] for part in made["plugins"].split("; ")] == ["magnitude", "kmeans"]
    assert made["recipe"].count("---\n") == 1


def test_every_start_of_a_run_has_an_end(model, toys, events):
    pipeline = Pipeline([Stage("magnitude", {"module_name_configs": {"5": {}}})])
    pipeline.prepare(model)
    pipeline.prepare(model)
    broken = copy.deepcopy(pipeline.prepare(model))
    broken[5].parametrizations.weight.original.data.fill_(float("nan"))
    pipeline.finalize()
    pipeline.finalize()
    with pytest.raises(ValueError, match=r"NaN"):
        pipeline.finalize(broken)
    ends = [
        event.split(" with")[0].split(":")[0] for event in events if event.startswith(("start", "end with", "error"))
    ]
    assert ends == ["start", "start", "error", "start", "error", "end", "start", "end", "start", "error"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"data": 7},
            "the calibration data must be a list or another iterable of batches, not of type int; "
            "put a single batch in a list",
        ),
        ({"data": [], "loss_fn": "mse"}, "loss_fn is of type str; pass loss_fn=lambda model, batch: ..."),
    ],
)
def test_what_is_no_data_and_no_loss_is_refused_before_any_work(model, given, text):
    before = fingerprint(model)
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("kmeans")]).compress(model, inplace=True, **given)
    assert str(caught.value) == text
    assert same(fingerprint(model), before)
