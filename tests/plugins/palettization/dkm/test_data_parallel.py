"""Differentiable k-means in several processes."""

import pytest
import torch
from tests.plugins.palettization.dkm.data_parallel import train
from torch import multiprocessing


@pytest.fixture(autouse=True)
def global_state():
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


def test_every_process_ends_with_the_weights_of_one_run_on_the_whole_batch(tmp_path):
    other = multiprocessing.get_context("spawn").Process(target=train, args=(1, 2, tmp_path))
    other.start()
    first = train(0, 2, tmp_path)
    other.join(60)
    assert other.exitcode == 0
    second, alone = torch.load(tmp_path / "1.pt", weights_only=True), train()
    for part, tensors in first.items():
        assert all(torch.equal(second[part][name], values) for name, values in tensors.items())
    torch.testing.assert_close(first["prepared"], alone["prepared"], rtol=1e-3, atol=1e-4)
    assert first["final"].keys() == alone["final"].keys()
