"""The memory that clustering takes beside the weight."""

import subprocess
import sys

import pytest

MEASURE = """
import resource, torch
from corepress_plugins.palettization.clustering import cluster_scalars
values = torch.randn({groups}, {width}, generator=torch.Generator().manual_seed(0))
cluster_scalars(values[:, :100_000], 16)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cluster_scalars(values, 16, zero={zero})
extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(extra * 1024 / (4 * values.numel()))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
@pytest.mark.parametrize(
    ("groups", "width", "zero"), [(1, 20_000_000, False), (1, 20_000_000, True), (40, 500_000, False)]
)
def test_clustering_takes_less_than_twice_the_memory_of_the_weight(groups: int, width: int, zero: bool) -> None:
    code = MEASURE.format(groups=groups, width=width, zero=zero)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2
