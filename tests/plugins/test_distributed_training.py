"""Two processes train one model: after each step they have the same masks, ranges and scales, and finish alike."""

import pytest
import torch
from tests.plugins.distributed_training import STEPS, network, train
from torch import multiprocessing
from torch.nn.parallel import DistributedDataParallel

from corepress import Pipeline, Stage
from corepress.calibration.nested import leaves
from corepress.errors import PlanError

CASES = {
    "moving average": ({}, False),
    "min_max": ({"activation_observer": "min_max", "weight_observer": "min_max"}, False),
    "histogram": ({"activation_observer": "histogram", "quantization_scheme": "affine"}, False),
    "learned": ({"algorithm": "learnable", "weight_dtype": "int4"}, False),
    "palettes": ({"weight_dtype": "float32"}, True),
}


@pytest.mark.parametrize("case", CASES)
def test_all_ranks_agree_after_each_step_and_in_the_end(case, tmp_path):
    multiprocessing.spawn(train, (2, str(tmp_path), *CASES[case]), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert len(first["states"]) == STEPS
    different = [
        path
        for (path, one), (_, other) in zip(leaves(first), leaves(second), strict=True)
        # Statistics of normalizations that are kept belong to each rank, as without compression.
        if not torch.equal(one, other) and "running" not in path[-1]
    ]
    assert different == []


def test_ranges_are_those_of_the_whole_batch(tmp_path):
    multiprocessing.spawn(train, (2, str(tmp_path), *CASES["min_max"]), nprocs=2)
    state = torch.load(tmp_path / "0.pt", weights_only=True)["states"][-1]["0:conv2d.input"]["stage 2"]
    data = torch.Generator().manual_seed(1)
    batches = [torch.randn(8, 3, 6, 6, generator=data) * (1 + step) for step in range(STEPS)]
    # Rank 1 sees every second image, twice, three times... as large.
    seen = [torch.cat([batch[::2], batch[1::2] * (2 + step) / (1 + step)]) for step, batch in enumerate(batches)]
    assert float(state["rows.observer.low"]) == min(float(images.min()) for images in seen)


def test_a_model_is_prepared_before_it_is_wrapped(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(network())
        with pytest.raises(PlanError, match="wrapped in DistributedDataParallel; prepare it first"):
            Pipeline([Stage("magnitude")]).prepare(wrapped)
    finally:
        torch.distributed.destroy_process_group()
