"""Copied and pickled pipelines, in this process and in others, and pipelines of several threads."""

import copy
import io
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import PlanWarning, StateError
from corepress.plugin import Registry, registry, using_registry
from corepress.testing.snapshot import different_tensors

STAGES = [
    Stage("magnitude", {"global_config": {"target_sparsity": 0.75}}),
    Stage("kmeans", {"global_config": {"n_bits": 2}}),
]


def from_yaml():
    return Pipeline.from_yaml(io.StringIO(Pipeline(STAGES, seed=3).to_yaml()))


def compressed_before():
    pipeline = Pipeline(STAGES, seed=3)
    pipeline.compress(nn.Sequential(nn.Linear(8, 8)))
    return pipeline


def finished_before():
    pipeline = Pipeline(STAGES, seed=3)
    pipeline.prepare(nn.Sequential(nn.Linear(8, 8)))
    pipeline.finalize(inplace=True)
    return pipeline


def pickled(pipeline):
    return pickle.loads(pickle.dumps(pipeline))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
@pytest.mark.parametrize("make", [lambda: Pipeline(STAGES, seed=3), from_yaml, compressed_before, finished_before])
def test_a_copy_does_the_same(model, make, duplicate):
    pipeline = make()
    twin = duplicate(pipeline)
    assert twin == pipeline
    for inplace in (False, True):
        mine, its = copy.deepcopy(model), copy.deepcopy(model)
        mine, its = pipeline.compress(mine, inplace=inplace), twin.compress(its, inplace=inplace)
        assert different_tensors(mine, its) == []
        assert mine._corepress_provenance == its._corepress_provenance
    assert twin.report().rows[0].steps == ("magnitude", "kmeans")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_a_copy_keeps_the_report(duplicate):
    pipeline = compressed_before()
    assert duplicate(pipeline).report().to_json() == pipeline.report().to_json()


def test_a_copy_has_a_configuration_of_its_own():
    pipeline = Pipeline(STAGES)
    twin = copy.deepcopy(pipeline)
    twin.stages[1].config.set_global({"n_bits": 4})
    assert pipeline.stages[1].config.global_config.n_bits == 2


def test_a_pipeline_in_training_and_its_model_are_copied_together(model):
    config = {"global_config": {"scheduler": {"update_steps": [1, 2], "power": 1}}}
    pipeline = Pipeline([Stage("magnitude", config)])
    prepared = pipeline.prepare(model)
    pipeline.step()
    twin, copied = copy.deepcopy((pipeline, prepared))
    pipeline.step()
    assert twin.report()["5.weight"].sparsity < pipeline.report()["5.weight"].sparsity
    twin.step()
    assert twin.report().rows == pipeline.report().rows
    assert twin.state_dict()["steps"] == 2
    assert twin.finalize(inplace=True) is copied
    assert different_tensors(copied, pipeline.finalize()) == []
    assert type(prepared[5]) is not nn.Linear


def test_a_pipeline_in_training_cannot_be_pickled(model):
    pipeline = Pipeline(STAGES)
    pipeline.prepare(model)
    with pytest.raises(StateError, match=r"^a pipeline in training cannot be pickled: .*; save state_dict\(\) of the"):
        pickle.dumps(pipeline)


def test_a_pipeline_that_finalized_a_copy_says_how_to_pickle_it(model):
    pipeline = Pipeline(STAGES)
    pipeline.prepare(model)
    pipeline.step()
    pipeline.finalize()
    expected = r"^the pipeline cannot be pickled: the model that prepare\(\) returned still carries its simulators"
    with pytest.raises(StateError, match=expected):
        pickle.dumps(pipeline)
    assert pickle.loads(pickle.dumps(Pipeline(pipeline.stages, seed=pipeline.seed))) == pipeline
    pipeline.finalize(inplace=True)
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline


@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_weight_of_a_sparse_layout_is_skipped_with_its_reason(layout, inplace):
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    values = torch.eye(8)
    model[1].weight = nn.Parameter(values.to_sparse(layout=layout))
    pipeline = Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.5}})])
    with pytest.warns(PlanWarning, match=rf"1\.weight: .*its layout is {layout}; replace it by weight\.to_dense\(\)"):
        compressed = pipeline.compress(model, inplace=inplace)
    assert (compressed[0].weight == 0).sum() == 32
    assert compressed[1].weight.layout is layout
    assert torch.equal(compressed[1].weight.to_dense(), values)
    assert (compressed is model) is inplace
    assert (compressed[1].weight is model[1].weight) is inplace


def test_a_model_with_a_weight_of_a_sparse_layout_is_trained_in_a_copy():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = nn.Parameter(torch.eye(8).to_sparse())
    pipeline = Pipeline([Stage("magnitude", {"module_name_configs": {"0": {"target_sparsity": 0.5}}})])
    pipeline.prepare(model)
    pipeline.step()
    trained = pipeline.finalize()
    assert (trained[0].weight == 0).sum() == 32
    assert trained[1].weight.layout is torch.sparse_coo


FRESH = """
import pickle, sys, torch
pipeline, model = pickle.load(open(sys.argv[1], "rb"))
pipeline.prepare(model, inplace=True)
pipeline.step()
torch.save(pipeline.finalize(inplace=True).state_dict(), sys.argv[2])
"""


def test_a_pipeline_and_a_finished_model_go_on_in_another_process(tmp_path):
    given, result = tmp_path / "given.pickle", tmp_path / "result.pt"
    pipeline = Pipeline(STAGES[:1])
    pipeline.prepare(nn.Sequential(nn.Linear(8, 8), nn.Conv1d(8, 4, 3)))
    pipeline.step()
    model = pipeline.finalize(inplace=True)
    given.write_bytes(pickle.dumps((pipeline, model)))
    subprocess.run([sys.executable, "-c", FRESH, given, result], check=True)
    pipeline.prepare(model, inplace=True)
    pipeline.step()
    expected = pipeline.finalize(inplace=True).state_dict()
    found = torch.load(result, weights_only=True)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_a_pipeline_outlives_the_registry_that_it_was_made_with(model, toys):
    pipeline = Pipeline([Stage("sign")])
    with using_registry(Registry(())):
        assert registry().algorithms() == ()
        compressed = pickled(pipeline).compress(model)
    assert compressed._corepress_provenance["plugins"] == "sign: under-test 0"


def in_threads(count, job):
    """Run a job in several threads at once, and return what it has returned or raised."""
    ready, results = threading.Barrier(count), [None] * count

    def run(position):
        ready.wait()
        try:
            results[position] = job(position)
        except BaseException as error:
            results[position] = error

    threads = [threading.Thread(target=run, args=(position,)) for position in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_threads_share_one_pipeline_and_see_the_registry_in_use(model, toys, events):
    expected = Pipeline([Stage("sign")]).compress(model)
    pipeline = Pipeline([Stage("sign")])
    for found in in_threads(4, lambda _: pipeline.compress(model)):
        assert different_tensors(found, expected) == []
    assert events.count("start") == 5
    for found in in_threads(4, lambda _: Pipeline([Stage("sign")]).compress(copy.deepcopy(model), inplace=True)):
        assert different_tensors(found, expected) == []


def test_workers_see_the_registry_of_the_thread_that_started_them(model, toys, monkeypatch):
    import toy_algorithms

    seen, original = [], toy_algorithms.SignPalette.encode

    def encode(self, *arguments):
        seen.append(registry())
        return original(self, *arguments)

    monkeypatch.setattr(toy_algorithms.SignPalette, "encode", encode)

    def job(position):
        if position:
            with using_registry(Registry(())):
                started.wait(10)
                done.wait(10)
            return
        with using_registry(toys):
            started.wait(10)
            Pipeline([Stage("sign")]).compress(model, workers=2)
        done.set()

    started, done = threading.Barrier(2), threading.Event()
    assert in_threads(2, job) == [None, None]
    assert {id(found) for found in seen} == {id(toys)}
