"""Threads: one in each encode, so that results depend neither on the workers nor on the threads of torch."""

import threading

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.pipeline.executor import ThreadExecutor
from corepress.pipeline.threads import one_thread


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def _threads_of_a_new_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.usefixtures("four_threads")
class TestOneThread:
    def test_torch_works_on_one_thread_inside_and_as_before_outside(self):
        with one_thread():
            assert torch.get_num_threads() == 1
            assert _threads_of_a_new_thread() == 1
        assert torch.get_num_threads() == 4
        assert _threads_of_a_new_thread() == 4

    def test_an_error_sets_it_back(self):
        with pytest.raises(RuntimeError), one_thread():
            raise RuntimeError
        assert torch.get_num_threads() == 4

    def test_a_nested_block_does_not_end_the_outer_one(self):
        with one_thread():
            with one_thread():
                pass
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 4

    def test_blocks_of_several_threads_that_overlap_leave_no_trace(self):
        entered, leave = threading.Event(), threading.Event()

        def other():
            with one_thread():
                entered.set()
                leave.wait(10)

        thread = threading.Thread(target=other)
        with one_thread():
            thread.start()
            entered.wait(10)
        assert torch.get_num_threads() == 4
        leave.set()
        thread.join()
        assert torch.get_num_threads() == 4
        assert _threads_of_a_new_thread() == 4

    def test_jobs_work_on_one_thread_or_on_all(self):
        jobs = range(3)
        assert list(ThreadExecutor(2).run(lambda _: torch.get_num_threads(), jobs)) == [1, 1, 1]
        assert list(ThreadExecutor(2).run(lambda _: torch.get_num_threads(), jobs, threads="all")) == [4, 4, 4]
        assert torch.get_num_threads() == 4


def test_results_come_in_the_order_of_the_jobs():
    started = threading.Barrier(2, timeout=10)

    def work(job):
        if job < 2:
            started.wait()  # the first two run side by side
        return job * 10

    assert list(ThreadExecutor(2).run(work, range(6))) == [0, 10, 20, 30, 40, 50]


def test_an_error_of_a_job_ends_the_work():
    done = []

    def work(job):
        if job == 1:
            raise RuntimeError("no luck")
        done.append(job)

    with pytest.raises(RuntimeError, match="no luck"):
        list(ThreadExecutor(1).run(work, range(100)))
    assert len(done) < 100


class Wide(nn.Module):
    """Layers of a million weights, whose sums differ with the number of threads that share them."""

    def __init__(self):
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(1024, 1024, bias=False) for _ in range(2))
        self.small = nn.Conv2d(16, 32, 3)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=rng) * 0.05


@pytest.fixture(scope="module")
def wide():
    return Wide()


PIPELINES = {
    "kmeans": [Stage("kmeans", {"global_config": {"n_bits": 4}})],
    "vectors": [Stage("kmeans", {"global_config": {"n_bits": 4, "cluster_dim": 4}})],
    "magnitude kmeans": [Stage("magnitude", {"global_config": {"target_sparsity": 0.5}}), Stage("kmeans")],
    "rounding": [
        Stage("rtn", {"global_config": {"weight_dtype": "int4", "granularity": "per_block", "block_size": 16}})
    ],
    "blocks": [Stage("magnitude", {"global_config": {"target_sparsity": 0.5, "block_size": 4}})],
}


@pytest.mark.filterwarnings("ignore::corepress.errors.PlanWarning")
@pytest.mark.parametrize("name", PIPELINES)
def test_large_layers_are_bit_identical_for_any_number_of_workers_and_threads(wide, name):
    before = torch.get_num_threads()
    found = {}
    try:
        for threads, workers in ((1, 1), (1, 2), (2, 1), (2, 3)):
            torch.set_num_threads(threads)
            pipeline = Pipeline(PIPELINES[name])
            state = pipeline.compress(wide, workers=workers).state_dict()
            rows = {row.name: (row.relative_error, row.form, row.bytes_after) for row in pipeline.report().done}
            found[threads, workers] = state, rows
    finally:
        torch.set_num_threads(before)
    (state, rows), *others = found.values()
    for other, other_rows in others:
        assert other_rows == rows
        assert other.keys() == state.keys()
        assert all(torch.equal(other[key], state[key]) for key in state)
