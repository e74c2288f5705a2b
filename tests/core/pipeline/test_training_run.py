"""Runs in training: one recipe, several models, each in a run of its own."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, TrainingRun
from corepress.algorithm import Unsupported
from corepress.errors import ExportError, PlanError, PlanWarning, StateError
from corepress.targets import torch_weights

PRUNING = Stage("magnitude", {"global_config": {"target_sparsity": 0.5}})
QAT = Stage("linear_qat", {"global_config": {"weight_dtype": "int4"}})


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def trained(run, seed):
    optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    inputs = torch.randn(16, 8, generator=torch.Generator().manual_seed(seed))
    for _ in range(3):
        optimizer.zero_grad()
        run.model(inputs).square().mean().backward()
        optimizer.step()
        run.step()
    return run.finalize()


def same(left, right):
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_one_recipe_trains_two_models_side_by_side():
    pipeline = Pipeline([PRUNING, QAT])
    first, second = (pipeline.begin(network(seed), torch.ones(2, 8)) for seed in (1, 2))

    second_result, first_result = trained(second, 2), trained(first, 1)

    for seed, result in ((1, first_result), (2, second_result)):
        alone = Pipeline([PRUNING, QAT]).begin(network(seed), torch.ones(2, 8))
        assert same(result, trained(alone, seed))
    assert (first.steps, second.steps) == (3, 3)


def test_a_run_gives_what_the_verbs_of_the_pipeline_give():
    run = Pipeline([PRUNING, QAT]).begin(network(), torch.ones(2, 8))
    of_run = trained(run, 1)

    pipeline = Pipeline([PRUNING, QAT])
    pipeline.prepare(network(), torch.ones(2, 8))
    of_pipeline = trained(pipeline._training, 1)

    assert same(of_run, of_pipeline)
    rows, others = (made.report().rows for made in (run, pipeline))
    assert [(row.name, row.relative_error, row.bytes_after) for row in rows] == [
        (row.name, row.relative_error, row.bytes_after) for row in others
    ]


def test_a_pipeline_knows_nothing_of_the_runs_that_it_began():
    pipeline = Pipeline([PRUNING])
    run = pipeline.begin(network())
    assert isinstance(run, TrainingRun)
    with pytest.raises(StateError, match=r"call prepare\(model\) before step\(\)"):
        pipeline.step()
    assert pipeline == Pipeline([PRUNING])


def test_a_run_reports_during_training_and_in_the_end():
    run = Pipeline([PRUNING]).begin(network())
    finished = run.finalize()
    report = run.report()
    assert report is run.report()
    forms = {row.name: row.form for row in report.rows if row.status == "compressed"}
    assert forms == {weight.name: weight.encoding().form.describe() for weight in torch_weights(finished)}


def test_a_saved_run_goes_on_in_a_run_of_an_equal_recipe():
    run = Pipeline([PRUNING]).begin(network())
    run.step()
    state = run.state_dict()
    again = Pipeline([PRUNING]).begin(network())
    again.load_state_dict(state)
    assert again.steps == 1
    with pytest.raises(StateError, match="saved by another recipe"):
        Pipeline([PRUNING], seed=1).begin(network()).load_state_dict(state)


def test_training_refuses_what_the_deployment_target_cannot_store():
    with pytest.raises((ExportError, PlanError), match=r"iOS15|iOS16|iOS18"):
        Pipeline([PRUNING, QAT]).begin(network(), torch.ones(2, 8), minimum_deployment_target="iOS16")


def test_a_weight_that_an_algorithm_will_not_simulate_is_skipped_with_the_reason(model, toys, monkeypatch):
    import toy_algorithms

    simulated = toy_algorithms.SignPalette.simulate

    def choosy(self, weight, config, rng=None):
        if weight.kind == "linear":
            raise Unsupported("its values are not to my taste")
        return simulated(self, weight, config, rng)

    monkeypatch.setattr(toy_algorithms.SignPalette, "simulate", choosy)
    with pytest.warns(PlanWarning, match=r"1 weights were skipped: 5.weight: sign: its values are not to my taste"):
        run = Pipeline([Stage("sign")]).begin(model)
    for report in (run.report(), (run.finalize(), run.report())[1]):
        row = report["5.weight"]
        assert (row.status, row.reason) == ("skipped", "sign: its values are not to my taste")
        assert row.bytes_after == row.bytes_before
        assert report["0.weight"].form == "1-bit palette"
    assert run.finalize()[5].weight.unique().numel() > 2


def test_a_stage_that_another_one_goes_on_without_is_named_in_the_report(model, toys, monkeypatch):
    import toy_algorithms

    def refuses(self, weight, config, rng=None):
        raise Unsupported("not today")

    monkeypatch.setattr(toy_algorithms.SignPalette, "simulate", refuses)
    with pytest.warns(PlanWarning, match=r"3 weights were skipped"):
        run = Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.5}}), Stage("sign")]).begin(model)
    run.step()
    finished = run.finalize()
    row = run.report()["5.weight"]
    assert (row.steps, row.status, row.reason) == (("magnitude",), "compressed", "sign: not today")
    assert float((finished[5].weight == 0).float().mean()) == 0.5
