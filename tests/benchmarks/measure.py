"""Measure one job with one system in this process, and print the result as JSON."""

import json
import resource
import sys
import time

import torch
from tests.benchmarks.jobs import JOBS


def main(name: str, system: str) -> None:
    """Time a job several times (the best counts), then judge its result."""
    torch.manual_seed(0)
    job = JOBS[name]
    model = job.model()
    work = job.work[system](model)
    base = _peak_mb()
    seconds, result = [], None
    for _ in range(job.runs(system)):
        begin = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - begin)
    found = {"seconds": min(seconds), "peak_mb": _peak_mb() - base}
    if system != "floor":
        # What a floor computes is no compressed model.
        found |= job.judge(model, job.finish(result), system)
    print(json.dumps(found))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*sys.argv[1:])
