import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.core.files.packages import stamp_of, write_package

from corepress.files import replacing, sweep

ROOT = Path(__file__).parents[3]
MOMENTS = (
    "while the new package is written",
    "before the exchange",
    "after the exchange",
    "while the old package is removed",
    "between two renames",
    "after two renames",
)


def _writer(out, stamp, moment="any"):
    command = [sys.executable, "-m", "tests.core.files.endless_writer", str(out), str(stamp), moment]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def test_a_package_is_whole_after_kills_at_random_moments(tmp_path):
    out = tmp_path / "out.mlpackage"
    write_package(out, "0")
    moments = random.Random(0)
    stamps = [0]
    for _ in range(40):
        process = _writer(out, stamps[-1])
        time.sleep(moments.uniform(0.05, 0.25))
        process.kill()
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
        stamps.append(int(stamp_of(out)))
    assert stamps == sorted(stamps)
    assert stamps[-1] > 40  # packages were replaced between the kills
    with replacing(out, package=True) as new:
        write_package(new, "last")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mlpackage"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_package_is_whole_after_a_kill(tmp_path, moment):
    out = tmp_path / "out.mlpackage"
    write_package(out, "0")
    process = _writer(out, 0, moment)
    assert process.wait(timeout=60) == -signal.SIGKILL, process.stderr.read()
    if moment == "between two renames":
        # The one moment without a package: the next use of the folder brings it back.
        assert not out.exists()
        sweep(tmp_path)
    assert stamp_of(out) == ("1" if moment.startswith(("after", "while the old")) else "0")
    with replacing(out, package=True) as new:
        write_package(new, "last")
    assert stamp_of(out) == "last"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mlpackage"]
