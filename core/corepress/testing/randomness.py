"""Watch the global random state, and stir it without leaving a trace."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def global_random_state() -> dict[str, Any]:
    """Return the state of every global random source as comparable values, by library."""
    algorithm, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": (algorithm, list(keys), rest),
        "random": random.getstate(),
    }


@contextmanager
def stirred(seed: int) -> Iterator[None]:
    """Seed every global random source inside a `with` block, and put the former state back."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
