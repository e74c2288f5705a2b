"""The peak memory of a run on a model of 100 million weights, as a multiple of the model.

Run `python -m tests.benchmarks.memory`. Each job has a process of its own. The model that is compressed counts as 1, as
does the result, which is a copy.
"""

import resource
import subprocess
import sys
import time

import torch
from torch import nn

from corepress import Pipeline, Stage

WIDTH, LAYERS = 2048, 24
_PRUNING = Stage("magnitude", {"global_config": {"target_sparsity": 0.75}})
_KMEANS = Stage("kmeans", {"global_config": {"n_bits": 4}})
JOBS = {
    "rtn int4": [Stage("rtn", {"global_config": {"weight_dtype": "int4"}})],
    "rtn int4, blocks of 32": [
        Stage("rtn", {"global_config": {"weight_dtype": "int4", "granularity": "per_block", "block_size": 32}})
    ],
    "kmeans 4 bits": [_KMEANS],
    "kmeans 4 bits, groups of 16": [
        Stage("kmeans", {"global_config": {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 16}})
    ],
    "magnitude 75 %": [_PRUNING],
    "magnitude 75 %, kmeans 4 bits": [_PRUNING, _KMEANS],
    "gptq uint4, sequential": [Stage("gptq", {"global_config": {"weight_dtype": "uint4"}}, {"mode": "sequential"})],
}


def main() -> None:
    """Print the peak of every job, for one worker and for two."""
    print("job                           | workers | model and run | run alone | seconds")
    for job in JOBS:
        for workers in (1, 2):
            command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.memory", job, str(workers)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(done.stdout.splitlines()[-1], flush=True)


def measure(job: str, workers: int) -> str:
    """Run a job in this process, and return its line."""
    pipeline = Pipeline(JOBS[job])
    # Imports and caches are no part of the run.
    pipeline.compress(nn.Sequential(nn.Linear(64, 64)), data=[torch.rand(2, 64)])
    base = _peak()
    model = nn.Sequential(*[nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)])
    size = sum(4 * parameter.numel() for parameter in model.parameters())
    built, start = _peak(), time.perf_counter()
    pipeline.compress(model, data=[torch.rand(16, WIDTH) for _ in range(4)], workers=workers)
    seconds, peak = time.perf_counter() - start, _peak()
    return f"{job:29} | {workers:7} | {(peak - base) / size:13.2f} | {(peak - built) / size:9.2f} | {seconds:7.1f}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(measure(sys.argv[1], int(sys.argv[2])))
    else:
        main()
