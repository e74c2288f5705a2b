"""An integration without its package says which extra to install; the others work."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
for name in ("lightning", "lightning.pytorch", "pytorch_lightning", "transformers"):
    sys.modules[name] = None
import corepress.integrations
corepress.integrations.loop.train
try:
    corepress.integrations.{extra}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("extra", ["lightning", "huggingface"])
def test_the_error_names_the_extra(extra):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(extra=extra)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"corepress.integrations.{extra}: ")
    assert done.stdout.endswith(f"pip install 'corepress[{extra}]'\n")
