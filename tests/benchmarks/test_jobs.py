"""The benchmarks run: both sides of every job on a small network, so that they cannot rot unseen."""

import pytest
import torch
from tests.benchmarks import layerwise, programs, training
from tests.benchmarks.jobs import JOBS
from tests.networks.gpt import Block
from torch import nn

SYSTEMS = ("coremltools", "corepress")
OTHER_MODELS = layerwise.JOBS | programs.JOBS
PROGRAM_JOBS = [name for name in programs.JOBS if name.startswith("program_")]


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pooled = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return nn.Sequential(*pooled, nn.Linear(64, 16)).eval()


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, job in JOBS.items()
        if set(SYSTEMS) <= set(job.work)
        and not job.needs_data
        and name not in layerwise.JOBS | programs.JOBS | training.JOBS
    ],
)
def test_both_sides_of_a_job_are_measured(name, model):
    job = JOBS[name]
    found = {}
    for system in SYSTEMS:
        work = job.work[system](model)
        results = [work() for _ in range(job.runs(system))]
        found[system] = job.judge(model, job.finish(results[-1]), system)
    assert 0 < found["corepress"]["error"] <= found["coremltools"]["error"] * 1.005
    assert found["corepress"].get("bytes", 0) <= found["coremltools"].get("bytes", 0) * 1.1


@pytest.mark.parametrize(
    "name", [name for name, job in JOBS.items() if "floor" in job.work and name not in OTHER_MODELS]
)
def test_the_floor_of_a_job_is_measured(name, model):
    floor = JOBS[name].work["floor"](model)()
    assert [tuple(p.shape) for p in floor.parameters()] == [tuple(p.shape) for p in model.parameters()]
    assert not torch.equal(floor[0].weight, model[0].weight) or name == "rtn_blocks"  # 3 channels are no block


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    from corepress import coreml

    path = tmp_path_factory.mktemp("packages") / "network.mlpackage"
    network = programs.seeded(lambda: nn.Sequential(nn.Conv2d(32, 64, 3), nn.Flatten(), nn.Linear(64 * 16, 32)))
    coreml.convert(network, torch.rand(1, 32, 6, 6)).save(str(path))
    return path


@pytest.mark.parametrize("name", PROGRAM_JOBS)
def test_both_sides_of_a_job_on_packages_are_measured(name, package):
    job = JOBS[name]
    found = {system: job.judge(package, job.work[system](package)(), system) for system in SYSTEMS}
    assert found["corepress"].get("error", 0) <= found["coremltools"].get("error", 0) * 1.02
    assert found["corepress"].get("bytes", 0) <= found["coremltools"].get("bytes", 0) * 1.1


@pytest.mark.parametrize("name", layerwise.JOBS)
def test_both_sides_of_a_layerwise_job_are_measured_beside_the_floor(name):
    model = programs.seeded(lambda: nn.Sequential(Block(32, 4), Block(32, 4)).eval())
    job = JOBS[name]
    found = {system: job.judge(model, job.work[system](model)(), system)["error"] for system in job.work}
    assert found["floor"] == 0
    assert 0 < found["corepress"] <= found["coremltools"] * 1.02


@pytest.mark.parametrize("name", training.JOBS)
def test_both_sides_of_a_job_in_training_make_steps(name):
    class Small(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 20))

    for system, work in JOBS[name].work.items():
        before = programs.seeded(Small)
        loop = work(before)()
        assert not torch.equal(before[3].weight, loop.palettizer.finalize()[3].weight), system
