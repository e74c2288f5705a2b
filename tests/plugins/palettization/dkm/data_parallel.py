"""A training run of several processes, in a module that each of them can import."""

from datetime import timedelta

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from corepress_plugins.palettization import DKMPalettizer

CONFIG = {"global_config": {"weight_threshold": 0, "n_bits": 2, "milestone": 1, "enable_per_channel_scale": True}}
STEPS = 5


def train(rank=0, world=1, folder=None):
    """Train on a rank's share of every batch; return the prepared and the final state, and write it to the folder."""
    torch.set_num_threads(1)
    if world > 1:
        store = f"file://{folder}/store"
        distributed.init_process_group(
            "gloo", init_method=store, rank=rank, world_size=world, timeout=timedelta(seconds=60)
        )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    palettizer = DKMPalettizer(model, CONFIG)
    prepared = palettizer.prepare()
    parallel = DistributedDataParallel(prepared) if world > 1 else prepared
    optimizer = torch.optim.SGD(parallel.parameters(), 0.1, momentum=0.9)
    data = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        inputs, targets = torch.randn(8, 16, generator=data), torch.randn(8, 8, generator=data)
        optimizer.zero_grad()
        (parallel(inputs[rank::world]) - targets[rank::world]).square().mean().backward()
        optimizer.step()
        palettizer.step()
    states = {"prepared": prepared.state_dict(), "final": palettizer.finalize().state_dict()}
    if world > 1:
        torch.save(states, f"{folder}/{rank}.pt")
        distributed.destroy_process_group()
    return states
