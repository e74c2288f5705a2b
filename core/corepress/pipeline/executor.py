"""Executors: run jobs side by side, and give their results in the order of the jobs."""

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from contextvars import copy_context
from itertools import islice
from typing import Protocol, TypeVar

import attrs
from tqdm import tqdm

from corepress.pipeline.threads import one_thread, set_one_thread
from corepress.warn import warn_user, warnings_kept

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2
"""Jobs per worker that are submitted before the caller reads their results. Unread results stay in memory."""


class Executor(Protocol):
    """Something that runs pure functions on jobs."""

    def run(
        self,
        function: Callable[[T], R],
        jobs: Sequence[T],
        *,
        threads: str = "one",
        doing: str | None = None,
        size: Callable[[T], int] = lambda _: 1,
    ) -> Generator[R]:
        """Yield the result of each job, in the order of the jobs; closing the generator cancels the others.

        Args:
            function: what to do with a job; it changes nothing that another job sees.
            jobs: the jobs.
            threads: the threads of torch in each job: `one`, or `all`, with one job at a time.
            doing: what a progress bar says; no bar without it.
            size: how far a job takes the bar.
        """
        ...


@attrs.frozen
class ThreadExecutor:
    """Runs jobs on threads of this process; `workers` at a time, by default one for each core.

    Results do not depend on `workers`: a job runs on one thread of torch, or on as many as torch has.
    """

    workers: int | None = None

    def run(
        self,
        function: Callable[[T], R],
        jobs: Sequence[T],
        *,
        threads: str = "one",
        doing: str | None = None,
        size: Callable[[T], int] = lambda _: 1,
    ) -> Generator[R]:
        """Yield the result of each job, in the order of the jobs."""
        alone = threads == "all"
        count = 1 if alone else min(self.workers or os.cpu_count() or 1, max(len(jobs), 1))
        # Threads start with an empty context, in which the registry and other settings of the caller would be lost.
        context = copy_context()
        with (
            nullcontext() if alone else one_thread(),
            ThreadPoolExecutor(count, initializer=None if alone else set_one_thread) as pool,
            # disable=None is quiet when the output is no terminal; a bar appears only after a second.
            tqdm(desc=doing, total=sum(map(size, jobs)), delay=1, disable=None if doing else True, leave=False) as bar,
        ):
            queue = iter(jobs)
            futures = deque(
                pool.submit(context.copy().run, _done, function, job) for job in islice(queue, count * _AHEAD)
            )
            try:
                for job in jobs:
                    result, told = futures.popleft().result()
                    futures.extend(pool.submit(context.copy().run, _done, function, job) for job in islice(queue, 1))
                    for message, category in told:
                        warn_user(message, category)
                    bar.update(size(job))
                    yield result
                    # The results of the next jobs may need the memory of this one.
                    del result
            finally:
                for future in futures:
                    future.cancel()


def _done(function: Callable[[T], R], job: T) -> tuple[R, list[tuple[str, type[Warning]]]]:
    """Return the result of a job and its warnings, which point to no line of the user's here."""
    with warnings_kept() as told:
        return function(job), told
