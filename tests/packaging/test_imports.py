"""What is imported when: naming and listing things must stay quick."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "coremltools", "numpy")

PROBE = """
import sys
{action}
print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
COMMAND = "from corepress.cli.main import main; main({arguments}, standalone_mode=False)"


@pytest.mark.parametrize(
    "action",
    [
        "import corepress",
        "import corepress.cli.main",
        "import corepress.pipeline.recipe",
        COMMAND.format(arguments=["plugins"]),
        COMMAND.format(arguments=["algorithms"]),
        COMMAND.format(arguments=["schema"]),
        COMMAND.format(arguments=["schema", "magnitude"]),
    ],
)
def test_neither_torch_nor_coremltools_is_imported(action, tmp_path):
    code = PROBE.format(action=action, heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.stderr == "[]\n"


def test_every_name_of_the_package_is_there():
    import corepress
    import corepress.pipeline

    for module in (corepress, corepress.pipeline):
        assert all(getattr(module, name) is not None for name in module.__all__)
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'absent'"):
            _ = module.absent
