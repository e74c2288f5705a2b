import random

import numpy as np
import torch

from corepress.algorithm import generator_for


def draw(*names, seed=0):
    return torch.rand(4, generator=generator_for(seed, *names)).tolist()


def test_a_stream_depends_on_seed_and_names_only():
    first = {name: draw("0", name) for name in ("a.weight", "b.weight")}
    second = {name: draw("0", name) for name in ("b.weight", "a.weight")}
    assert first == second


def test_other_names_stages_and_seeds_give_other_streams():
    streams = [draw("0", "a"), draw("0", "b"), draw("1", "a"), draw("0", "a", seed=1), draw("0a"), draw("a", "0")]
    assert len({tuple(stream) for stream in streams}) == len(streams)


def test_streams_are_the_same_in_every_process_and_release():
    assert torch.randint(1000, (4,), generator=generator_for(7, "0", "fc.weight")).tolist() == [497, 172, 824, 694]


def test_the_global_random_state_is_untouched():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    draw("0", "a")
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
