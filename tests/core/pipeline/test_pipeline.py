"""One-shot compression: order, composition, and models that are left alone."""

import copy
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.encoding import Palettized, Sparse
from corepress.errors import ConfigError, PlanError, StateError, WeightError
from corepress.pipeline.run import Run
from corepress.targets import torch_weights

HALF = {"global_config": {"target_sparsity": 0.5}}


def encodings(model):
    return {weight.name: weight.encoding() for weight in torch_weights(model)}


def same_state(left, right):
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_a_pipeline_needs_stages():
    with pytest.raises(ConfigError, match=r"^stages: a pipeline needs at least one Stage$"):
        Pipeline([])
    with pytest.raises(ConfigError, match=r"^stages: must hold Stage objects, got 'magnitude'$"):
        Pipeline(["magnitude"])


def test_every_problem_of_every_stage_is_named():
    with pytest.raises(ConfigError) as caught:
        Pipeline([Stage("magnitude", {"global_config": {"target_sparsty": 1, "block_size": 0}}), Stage("magnitud")])
    assert str(caught.value) == (
        "3 problems\n"
        "  stages[0].config.global_config.target_sparsty: unknown option 'target_sparsty' of "
        "ModuleMagnitudePrunerConfig; did you mean 'target_sparsity'?\n"
        "  stages[0].config.global_config.block_size: must be at least 1, got 0\n"
        "  stages[1].algorithm: unknown algorithm 'magnitud'; did you mean 'magnitude'?"
    )


def test_a_configuration_of_another_algorithm_is_refused():
    from corepress_plugins.palettization import PostTrainingPalettizerConfig

    with pytest.raises(ConfigError) as caught:
        Pipeline([Stage("magnitude", PostTrainingPalettizerConfig())])
    assert str(caught.value) == (
        "stages[0].config: magnitude takes a MagnitudePrunerConfig, got a PostTrainingPalettizerConfig"
    )


def test_the_given_model_is_untouched(model):
    before = copy.deepcopy(model)
    compressed = Pipeline([Stage("magnitude", HALF)]).compress(model)
    assert compressed is not model
    assert same_state(model, before)


def test_inplace_changes_the_given_model(model):
    pipeline = Pipeline([Stage("magnitude", HALF)])
    expected = pipeline.compress(model)
    parameters = list(model.parameters())
    assert pipeline.compress(model, inplace=True) is model
    assert same_state(model, expected)
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))


@pytest.mark.parametrize("inplace", [False, True])
def test_a_failing_run_leaves_the_model_as_it_was(model, toys, events, inplace):
    import toy_algorithms

    toy_algorithms.SignPalette.fails_on = "5.weight"
    before = copy.deepcopy(model)
    with pytest.raises(RuntimeError, match=r"no luck") as caught:
        Pipeline([Stage("magnitude", HALF), Stage("sign")]).compress(model, inplace=inplace)
    assert caught.value.__notes__ == ["while stage 2 (sign) of plugin under-test/toys.<locals>.Toy compressed 5.weight"]
    assert same_state(model, before)
    assert events[-1] == "error: no luck"


def test_zeros_survive_palettization(model, toys):
    compressed = Pipeline([Stage("magnitude", HALF), Stage("sign")]).compress(model)
    for name, encoding in encodings(compressed).items():
        assert isinstance(encoding, Sparse)
        assert isinstance(encoding.payload, Palettized)
        values = compressed.get_parameter(name)
        assert (values == 0).sum() == values.numel() // 2
        assert values.unique().numel() == 3


def test_pruning_after_palettization_gives_the_same_kind(model, toys):
    compressed = Pipeline([Stage("sign"), Stage("magnitude", HALF)]).compress(model)
    assert all(isinstance(found.payload, Palettized) for found in encodings(compressed).values())


def test_two_runs_compose_like_one(model, toys):
    once = Pipeline([Stage("magnitude", HALF), Stage("sign")]).compress(model)
    pruned = Pipeline([Stage("magnitude", HALF)]).compress(model)
    twice = Pipeline([Stage("sign")]).compress(pruned)
    assert encodings(once) == encodings(twice)


def test_the_same_algorithm_may_appear_twice(model):
    pipeline = Pipeline([Stage("magnitude", HALF), Stage("magnitude", {"global_config": {"target_sparsity": 0.75}})])
    found = encodings(pipeline.compress(model))["5.weight"]
    assert (found.decode() == 0).sum() == 960


def test_stages_with_disjoint_selections_do_not_conflict(model, toys):
    pipeline = Pipeline(
        [
            Stage("sign", {"module_name_configs": {"0": {}}}),
            Stage("sign", {"module_name_configs": {"5": {}}}),
        ]
    )
    found = encodings(pipeline.compress(model))
    assert [encoding.kind for encoding in found.values()] == ["palettized", "dense", "palettized"]


def test_a_second_palettization_is_refused_before_any_work(model, toys):
    compressed = Pipeline([Stage("sign")]).compress(model)
    before = copy.deepcopy(compressed)
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("sign")]).compress(compressed, inplace=True)
    assert str(caught.value) == "\n".join(
        f"{name}: stage 1 (sign) cannot work: it is palettized already; palettize once, with the n_bits you want"
        for name in ("0.weight", "3.weight", "5.weight")
    )
    assert same_state(compressed, before)


def test_the_refusal_names_the_stages_before(model, toys):
    with pytest.raises(PlanError, match=r"^5.weight: stage 3 \(sign\) cannot work after sign and magnitude: "):
        Pipeline([Stage("sign", {"module_name_configs": {"5": {}}}), Stage("magnitude"), Stage("sign")]).plan(model)


def test_values_that_are_not_finite_are_refused(model):
    model[5].weight.data[0, :3] = float("nan")
    first = model[0].weight.clone()
    with pytest.raises(WeightError) as caught:
        Pipeline([Stage("magnitude", HALF)]).compress(model, inplace=True)
    assert str(caught.value) == "5.weight: 3 of 1280 values are NaN or infinite; repair the model first"
    assert torch.equal(model[0].weight, first)


def test_a_model_without_compressible_weights_is_refused():
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("magnitude")]).compress(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))
    assert str(caught.value) == (
        "the model has no compressible weights: corepress knows linear and bilinear layers, convolutions, Embedding, "
        "attention, recurrent layers and LayerNorm; a plugin can add other modules with the hook register_module_kinds"
    )


def test_a_traced_model_is_refused(model):
    traced = torch.jit.trace(model.eval(), torch.rand(1, 3, 8, 8))
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("magnitude")]).compress(traced)
    assert str(caught.value) == (
        "expected a torch.nn.Module, an MLModel or the path of an .mlpackage, got TopLevelTracedModule; "
        "compress a module before it is traced"
    )


def test_an_algorithm_of_the_training_loop_cannot_compress(model, toys):
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("sign_trained")]).compress(model)
    assert str(caught.value) == "stage 1 (sign_trained) works in a training loop; use prepare, step and finalize"


def test_changed_weights_are_not_mistaken_for_compressed_ones(model, toys):
    compressed = Pipeline([Stage("sign")]).compress(model)
    compressed[5].weight.data[0, 0] += 1
    with pytest.raises(StateError) as caught:
        Pipeline([Stage("magnitude")]).plan(compressed)
    assert str(caught.value).startswith("5.weight: its values were changed after it was compressed (1-bit palette)")


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_results_do_not_depend_on_the_number_of_workers(model, toys, workers):
    pipeline = Pipeline([Stage("magnitude", HALF), Stage("sign")])
    assert same_state(pipeline.compress(model, workers=workers), pipeline.compress(model))


def test_the_random_state_is_not_touched(model, toys):
    before = torch.get_rng_state()
    Pipeline([Stage("magnitude", HALF), Stage("sign")]).compress(model)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_compressed_state_holds_tensors_only_and_says_what_made_it(model, tmp_path):
    compressed = Pipeline([Stage("magnitude", HALF)]).compress(model)
    torch.save(compressed.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["5._COREML_/weight/compression_type"].tolist() == [1]
    assert state["_COREML_/metadata_version"].item() == 1
    made = compressed._corepress_provenance
    assert made["plugins"].startswith("magnitude: corepress ")
    assert made["recipe"].startswith("stages:\n- algorithm: magnitude\n")


def test_other_parameters_of_a_module_can_be_compressed(model):
    pipeline = Pipeline([Stage("magnitude", {"global_config": {"param_name": "bias", "target_sparsity": 0.5}})])
    compressed = pipeline.compress(model)
    assert (compressed[5].bias == 0).sum() == 5
    assert torch.equal(compressed[5].weight, model[5].weight)
    assert pipeline.report()["5.bias"].status == "compressed"


def test_a_failing_commit_leaves_the_number_of_torch_threads_as_it_was(model, monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(Run, "commit", Mock(side_effect=RuntimeError("no memory")))
    try:
        torch.set_num_threads(4)
        with pytest.raises(RuntimeError, match="no memory") as held:
            Pipeline([Stage("magnitude")]).compress(model, workers=2)
        assert torch.get_num_threads() == 4, held
    finally:
        torch.set_num_threads(before)


def test_workers_leave_the_number_of_torch_threads_as_it_was(model):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        Pipeline([Stage("magnitude")]).compress(model, workers=2)
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
