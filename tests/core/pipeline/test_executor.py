"""Jobs run side by side, their results come in order, and few of them lie in memory."""

import pytest

from corepress.pipeline.executor import ThreadExecutor


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_jobs(workers):
    assert list(ThreadExecutor(workers).run(lambda job: job**2, range(40))) == [job**2 for job in range(40)]


def test_jobs_do_not_run_far_ahead_of_what_reads_their_results():
    begun = []
    for read, _ in enumerate(ThreadExecutor(2).run(begun.append, range(40)), start=1):
        assert len(begun) <= read + 4


def test_a_job_that_fails_ends_the_run_and_those_that_wait_never_begin():
    begun = []

    def work(job):
        begun.append(job)
        if job == 0:
            raise ValueError("job 0")

    with pytest.raises(ValueError, match=r"^job 0$"):
        list(ThreadExecutor(1).run(work, range(40)))
    assert len(begun) <= 2


def test_no_jobs_have_no_results():
    assert list(ThreadExecutor().run(lambda job: job, [])) == []
