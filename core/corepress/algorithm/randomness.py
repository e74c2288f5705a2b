"""Random streams that depend on the run's seed and on a name, and on nothing else."""

import hashlib

import torch


def generator_for(seed: int, *names: str) -> torch.Generator:
    """Return a generator for one purpose: the same seed and names give the same stream, in any order and process."""
    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
