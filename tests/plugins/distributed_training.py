"""A training of several processes, in a module that each of them can import."""

import warnings
from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from corepress import Pipeline, Stage

STEPS = 4
SCHEDULE = {"target_sparsity": 0.5, "scheduler": {"update_steps": [1, 2, 3]}}


def network():
    """Return the same network at every call."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)
    )


def stages(options, palette):
    """Return pruning and quantization, with palettes where asked."""
    found = [Stage("magnitude", {"global_config": SCHEDULE}), Stage("linear_qat", {"global_config": options})]
    return [*found, Stage("dkm", {"global_config": {"n_bits": 2, "weight_threshold": 0}})] if palette else found


def train(rank, world, folder, options, palette):
    """Train on a rank's share of every batch; write what the rank has after each step, and in the end."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    pipeline = Pipeline(stages(options, palette))
    run = pipeline.begin(network(), torch.ones(2, 3, 6, 6))
    parallel = DistributedDataParallel(run.model.train())
    optimizer = torch.optim.SGD(parallel.parameters(), 0.02)
    data = torch.Generator().manual_seed(1)
    states = []
    for step in range(STEPS):
        inputs = torch.randn(4 * world, 3, 6, 6, generator=data) * (1 + rank + step)
        optimizer.zero_grad()
        parallel(inputs[rank::world]).square().mean().backward()
        optimizer.step()
        run.step()
        states.append(run.state_dict()["simulators"])
    finished = run.finalize(parallel).state_dict()
    torch.save({"states": states, "finished": finished}, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()
