"""The demo does what it says."""

import importlib.util
import re
from pathlib import Path

import pytest

from corepress import coreml

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that the demo has filled, and what it has printed."""
    path = Path(__file__).parents[2] / "demo" / "digits.py"
    spec = importlib.util.spec_from_file_location("demo_digits", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr(module, "print", lambda text, end="\n": printed.append(f"{text}{end}"), raising=False)
        module.main(folder)
    return folder, "".join(printed)


def _last_lines(text):
    return re.findall(r"^(before|compressed) +([\d.]+)% +([\d,]+)", text, re.MULTILINE)


def test_the_compressed_network_is_as_accurate_and_much_smaller(demo):
    _, text = demo
    (_, accuracy_before, bytes_before), (_, accuracy_after, bytes_after) = _last_lines(text)
    assert float(accuracy_before) > 96
    assert float(accuracy_after) > float(accuracy_before) - 2
    assert int(bytes_before.replace(",", "")) > 5 * int(bytes_after.replace(",", ""))


def test_the_steps_are_shown_in_their_order(demo):
    _, text = demo
    headings = re.findall(r"^(\d)\. |^(Plan|Report) \(", text, re.MULTILINE)
    assert ["".join(heading) for heading in headings] == ["1", "2", "Plan", "3", "Report", "4"]


def test_the_packages_on_disk_are_the_ones_announced(demo):
    folder, _ = demo
    assert sorted(path.name for path in folder.iterdir()) == ["digits-small.mlpackage", "digits.mlpackage"]
    stored = {weight.stored_as for weight in coreml.inspect(folder / "digits-small.mlpackage").weights}
    assert "80% sparse, 4-bit palette" in stored
