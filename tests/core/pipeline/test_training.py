"""Compression in the user's training loop: prepare, step, finalize, resume."""

import copy
import io

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.algorithm import Simulator
from corepress.encoding import Dense, Palettized, Sparse
from corepress.errors import PlanError, StateError, WeightError
from corepress.targets import torch_weights

SCHEDULE = {"update_steps": [1, 2, 4], "power": 1}
SCHEDULED = {"global_config": {"scheduler": SCHEDULE, "target_sparsity": 0.75}}


def encodings(model):
    return {weight.name: weight.encoding() for weight in torch_weights(model)}


def same_state(left, right):
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def zeros(model, name="5.weight"):
    module, _, parameter = name.rpartition(".")
    return int((getattr(model.get_submodule(module), parameter) == 0).sum())


def train(model, optimizer, generator, steps, after=None):
    """A plain training loop on noise; `after` is called after each step."""
    for _ in range(steps):
        x = torch.randn(4, 3, 8, 8, generator=generator)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        if after is not None:
            after()


@pytest.mark.parametrize("verb", ["step", "finalize", "state_dict"])
def test_prepare_comes_first(verb):
    with pytest.raises(StateError) as caught:
        getattr(Pipeline([Stage("magnitude")]), verb)()
    assert str(caught.value) == f"call prepare(model) before {verb}()"


def test_prepare_leaves_the_given_model_alone(model):
    before = copy.deepcopy(model)
    prepared = Pipeline([Stage("magnitude")]).prepare(model)
    assert prepared is not model
    assert same_state(model, before)
    assert type(model[5]) is nn.Linear


def test_prepare_inplace_keeps_the_parameters_of_an_optimizer(model):
    weight = model[5].weight
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    pipeline = Pipeline([Stage("magnitude", SCHEDULED)])
    assert pipeline.prepare(model, inplace=True) is model
    train(model, optimizer, torch.Generator().manual_seed(0), 4, pipeline.step)
    assert pipeline.finalize(inplace=True) is model
    assert model[5].weight is weight
    assert zeros(model) == 960


def test_the_schedule_is_followed_step_by_step(model):
    pipeline = Pipeline([Stage("magnitude", SCHEDULED)])
    prepared = pipeline.prepare(model)
    levels = []
    for _ in range(5):
        pipeline.step()
        levels.append(zeros(prepared) / 1280)
    assert levels == [0.0, 0.375, 0.375, 0.75, 0.75]


def test_the_model_computes_with_the_pruned_weight_and_pruned_weights_get_no_gradient(model):
    pipeline = Pipeline([Stage("magnitude")])
    prepared = pipeline.prepare(model)
    pipeline.step()
    prepared(torch.randn(2, 3, 8, 8)).sum().backward()
    gradient = prepared[5].parametrizations.weight.original.grad
    assert torch.equal(gradient == 0, prepared[5].weight == 0)


def test_finalize_gives_plain_modules_with_metadata(model):
    pipeline = Pipeline([Stage("magnitude", SCHEDULED)])
    prepared = pipeline.prepare(model)
    for _ in range(4):
        pipeline.step()
    final = pipeline.finalize()
    assert type(final[5]) is nn.Linear
    assert final.state_dict()["5._COREML_/weight/compression_type"].tolist() == [1]
    assert isinstance(encodings(final)["5.weight"], Sparse)
    assert not isinstance(prepared[5], Simulator)
    assert type(prepared[5]) is not nn.Linear


def test_finalizing_twice_in_place_changes_nothing(model):
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(model)
    pipeline.step()
    final = pipeline.finalize(inplace=True)
    before = copy.deepcopy(final)
    assert pipeline.finalize(inplace=True) is final
    assert same_state(final, before)


def test_finalize_works_on_a_copy_of_the_prepared_model(model):
    pipeline = Pipeline([Stage("magnitude")])
    prepared = pipeline.prepare(model)
    pipeline.step()
    assert same_state(pipeline.finalize(copy.deepcopy(prepared)), pipeline.finalize())


def test_without_a_step_the_target_is_applied_at_once(model):
    pipeline = Pipeline([Stage("magnitude", SCHEDULED)])
    pipeline.prepare(model)
    assert zeros(pipeline.finalize()) == 960


def test_one_shot_stages_run_when_the_run_is_finalized(model):
    pipeline = Pipeline([Stage("magnitude", SCHEDULED), Stage("kmeans", {"global_config": {"n_bits": 2}})])
    prepared = pipeline.prepare(model)
    for _ in range(4):
        pipeline.step()
    assert prepared[5].weight.unique().numel() > 100
    found = encodings(pipeline.finalize())["5.weight"]
    assert isinstance(found, Sparse)
    assert isinstance(found.payload, Palettized)
    assert found.decode().unique().numel() == 5
    assert pipeline.report()["5.weight"].steps == ("magnitude", "kmeans")


@pytest.mark.parametrize("order", [("magnitude", "sign"), ("sign", "magnitude")])
def test_joint_training_keeps_exact_zeros_whatever_the_order(model, toys, order):
    configs = {"magnitude": SCHEDULED, "sign": None}
    pipeline = Pipeline([Stage(name, configs[name]) for name in order])
    prepared = pipeline.prepare(model)
    optimizer = torch.optim.SGD(prepared.parameters(), 0.1)
    train(prepared, optimizer, torch.Generator().manual_seed(0), 4, pipeline.step)
    shown = prepared[5].weight.detach().clone()
    final = pipeline.finalize()
    found = encodings(final)["5.weight"]
    assert isinstance(found, Sparse)
    assert isinstance(found.payload, Palettized)
    assert zeros(final) == 960
    assert final[5].weight.unique().numel() == 3
    assert torch.allclose(final[5].weight, shown)


@pytest.mark.parametrize("first", ["magnitude", "sign"])
def test_two_compressors_on_one_model_can_be_finalized_in_any_order(model, toys, first):
    pruning, palettization = Pipeline([Stage("magnitude")]), Pipeline([Stage("sign")])
    palettization.prepare(model, inplace=True)
    pruning.prepare(model, inplace=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    train(model, optimizer, torch.Generator().manual_seed(0), 2, lambda: (pruning.step(), palettization.step()))
    order = [pruning, palettization] if first == "magnitude" else [palettization, pruning]
    for compressor in order:
        compressor.finalize(model, inplace=True)
    assert type(model[5]) is nn.Linear
    assert isinstance(encodings(model)["5.weight"].payload, Palettized)
    assert zeros(model) == 640


def test_training_keeps_the_zeros_of_an_earlier_run(model, toys):
    pruned = Pipeline([Stage("magnitude")]).compress(model)
    pipeline = Pipeline([Stage("sign")])
    prepared = pipeline.prepare(pruned)
    optimizer = torch.optim.SGD(prepared.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    train(prepared, optimizer, torch.Generator().manual_seed(0), 3, pipeline.step)
    final = pipeline.finalize()
    assert torch.equal(final[5].weight == 0, pruned[5].weight == 0)
    assert isinstance(encodings(final)["5.weight"].payload, Palettized)


def test_training_would_undo_a_palette(model, toys):
    compressed = Pipeline([Stage("sign")]).compress(model)
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("linear_qat", {"global_config": {"activation_dtype": "float32"}})]).prepare(
            compressed, torch.ones(1, 3, 8, 8), inplace=True
        )
    assert str(caught.value) == (
        "0.weight: it is stored as 1-bit palette already, which training would undo; "
        "stage 1 (linear_qat) needs an uncompressed or a pruned weight; compress() works on it as it is"
    )
    assert type(compressed[5]) is nn.Linear


def test_a_run_resumes_in_the_middle_of_its_schedule(model):
    def start():
        pipeline = Pipeline([Stage("magnitude", SCHEDULED)])
        prepared = pipeline.prepare(model)
        return pipeline, prepared, torch.optim.SGD(prepared.parameters(), 0.1, momentum=0.9)

    pipeline, prepared, optimizer = start()
    data = torch.Generator().manual_seed(0)
    train(prepared, optimizer, data, 2, pipeline.step)
    saved = io.BytesIO()
    torch.save(
        {"model": prepared.state_dict(), "optimizer": optimizer.state_dict(), "run": pipeline.state_dict()}, saved
    )
    position = data.get_state()
    train(prepared, optimizer, data, 3, pipeline.step)
    uninterrupted = pipeline.finalize()

    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    pipeline, prepared, optimizer = start()
    prepared.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    pipeline.load_state_dict(state["run"])
    train(prepared, optimizer, data.set_state(position), 3, pipeline.step)
    assert same_state(pipeline.finalize(), uninterrupted)


def test_the_state_of_another_recipe_is_refused(model):
    pipeline = Pipeline([Stage("magnitude", SCHEDULED)])
    pipeline.prepare(model)
    state = pipeline.state_dict()
    other = Pipeline([Stage("magnitude")])
    other.prepare(model)
    with pytest.raises(StateError) as caught:
        other.load_state_dict(state)
    assert str(caught.value) == (
        "the state was saved by another recipe; restore that one with Pipeline.from_yaml(io.StringIO(state['recipe']))"
    )
    assert Pipeline.from_yaml(io.StringIO(state["recipe"])) == pipeline


def test_the_state_says_which_plugins_made_it(model):
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(model)
    assert list(pipeline.state_dict()["plugins"]) == ["magnitude"]
    assert pipeline.state_dict()["plugins"]["magnitude"].startswith("corepress ")


def test_a_prepared_model_can_be_copied(model):
    pipeline = Pipeline([Stage("magnitude")])
    prepared = pipeline.prepare(model)
    pipeline.step()
    twin = copy.deepcopy(prepared)
    assert torch.equal(twin[5].weight, prepared[5].weight)


def test_tied_weights_stay_tied():
    model = nn.ModuleDict({"embed": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    pipeline = Pipeline([Stage("magnitude")])
    prepared = pipeline.prepare(model)
    pipeline.step()
    assert torch.equal(prepared["embed"].weight, prepared["head"].weight)
    final = pipeline.finalize()
    assert final["embed"].weight is final["head"].weight
    assert (final["embed"].weight == 0).sum() == 200


def test_the_report_during_training_shows_the_moment(model):
    pipeline = Pipeline([Stage("magnitude", SCHEDULED)])
    prepared = pipeline.prepare(model)
    before = copy.deepcopy(prepared)
    for _ in range(2):
        pipeline.step()
        pipeline.report()
    assert pipeline.report()["5.weight"].sparsity == 0.375
    assert pipeline.report()["5.weight"].form == "38% sparse"
    assert type(prepared[5]) is type(before[5])


def test_weights_that_training_has_ruined_are_refused(model):
    pipeline = Pipeline([Stage("magnitude")])
    prepared = pipeline.prepare(model)
    prepared[5].parametrizations.weight.original.data[0, 0] = float("inf")
    with pytest.raises(WeightError, match=r"^5.weight: 1 of 1280 values are NaN or infinite"):
        pipeline.finalize(inplace=True)
    assert type(prepared[5]) is not nn.Linear


def test_a_failing_stage_leaves_the_prepared_model_as_it_was(model, toys, events):
    import toy_algorithms

    toy_algorithms.SignPalette.fails_on = "5.weight"
    pipeline = Pipeline([Stage("magnitude"), Stage("sign_one_shot")])
    prepared = pipeline.prepare(model)
    pipeline.step()
    before = copy.deepcopy(prepared)
    with pytest.raises(RuntimeError, match=r"no luck"):
        pipeline.finalize(inplace=True)
    assert events[-1] == "error: no luck"
    assert same_state(prepared, before)
    toy_algorithms.SignPalette.fails_on = None
    assert encodings(pipeline.finalize(inplace=True))["5.weight"].kind == "sparse"


def test_a_model_that_was_not_prepared_cannot_be_finalized(model):
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(model)
    with pytest.raises(StateError) as caught:
        pipeline.finalize(model)
    assert str(caught.value) == (
        "0.weight carries no simulator of this run; pass the model that prepare() returned, or a copy of it"
    )


def test_observers_see_a_whole_training_run(model, toys, events):
    pipeline = Pipeline([Stage("magnitude", {"module_name_configs": {"5": {}}}), Stage("sign_trained")])
    pipeline.prepare(model)
    pipeline.step()
    pipeline.step()
    pipeline.finalize()
    assert events == [
        "start",
        "step 1",
        "step 2",
        "stage magnitude",
        "5.weight: 50% sparse",
        "end of magnitude",
        "stage sign_trained",
        "0.weight: 1-bit palette",
        "3.weight: 1-bit palette",
        "5.weight: 50% sparse, 1-bit palette",
        "end of sign_trained",
        "end with 3",
    ]


def test_a_weight_without_metadata_is_dense(model):
    assert isinstance(encodings(model)["5.weight"], Dense)


def test_a_copy_of_a_model_in_training_is_not_prepared(model):
    pipeline = Pipeline([Stage("magnitude", SCHEDULED)])
    prepared = pipeline.prepare(model)
    with pytest.raises(StateError) as caught:
        Pipeline([Stage("magnitude", SCHEDULED)]).prepare(prepared)
    assert str(caught.value) == (
        "0.weight, 3.weight, 5.weight: another run trains it; pass inplace=True, so that both train the same model, "
        "or finalize the other run first"
    )
    assert Pipeline([Stage("magnitude", SCHEDULED)]).prepare(prepared, inplace=True) is prepared


def test_runs_that_do_not_compose_are_refused_when_the_second_is_prepared(model):
    prepared = Pipeline([Stage("dkm", {"global_config": {"weight_threshold": 0, "n_bits": 2}})]).prepare(model)
    before = sorted(prepared.state_dict())
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("dkm", {"global_config": {"weight_threshold": 0}})]).prepare(prepared, inplace=True)
    assert str(caught.value) == (
        "0.weight: another run trains it already, with which this one does not compose: it is palettized already; "
        "palettize once, with the n_bits you want"
    )
    assert sorted(prepared.state_dict()) == before


def test_a_model_in_training_says_how_it_is_saved_and_a_finished_one_is_saved(tmp_path):
    pipeline = Pipeline([Stage("magnitude")])
    prepared = pipeline.prepare(nn.Sequential(nn.Linear(8, 8)))
    with pytest.raises(
        StateError, match=r"save its state_dict\(\) and that of the pipeline, and load both after prepare"
    ):
        torch.save(prepared, tmp_path / "model.pt")
    copy.deepcopy(prepared)
    finished = pipeline.finalize(inplace=True)
    torch.save(finished, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    assert torch.equal(again[0].weight, finished[0].weight)


def held_as(what):
    """Return a network whose first weight is a buffer, or a plain tensor."""
    network = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    values = network[0].weight.detach()
    del network[0].weight
    if what == "buffer":
        network[0].register_buffer("weight", values)
    else:
        network[0].weight = values
    return network


def test_a_weight_that_is_a_buffer_is_trained_to_the_end():
    stage = Stage("magnitude", {"global_config": {"target_sparsity": 0.5, "weight_threshold": 0}})
    pipeline = Pipeline([stage])
    prepared = pipeline.prepare(held_as("buffer"))
    prepared(torch.ones(1, 8)).sum().backward()
    pipeline.step()
    finished = pipeline.finalize()
    assert "weight" in finished[0]._buffers
    assert (finished[0].weight == 0).sum() == 32


def test_a_weight_that_is_a_plain_tensor_is_refused_with_the_way_out():
    network = held_as("tensor")
    with pytest.raises(PlanError, match=r"0.weight: it is a plain tensor of 0, .* nn.Parameter\(module.weight\) first"):
        Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.5}})]).prepare(network)
