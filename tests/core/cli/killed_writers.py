"""Kill processes that write outputs of every kind, at random moments, and check that each output stays whole.

Run as a script in an empty folder; it prints how many processes were killed and how often each output was replaced.
Children are forked, so that the packages which they need are imported once.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.cli import writers
from corepress.files import replacing, write_text

KILLS = 60


def _replace(path: str, write: Callable[[Path], None]) -> None:
    with replacing(Path(path)) as new:
        write(new)


def _models() -> list[nn.Module]:
    models = []
    for value in (1.0, 2.0):
        models.append(nn.Linear(256, 256))
        nn.init.constant_(models[-1].weight, value)
    return models


def main() -> None:
    torch.set_num_threads(1)
    models = _models()
    packages = [coreml.convert(model, torch.rand(1, 256)) for model in models]
    pipeline = Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.5}})])
    pipeline.compress(models[0])
    report = pipeline.report().to_json()

    def write_all(number: int) -> None:
        _replace("o.pt", lambda new: writers.write_pt(models[number], new))
        _replace("o.safetensors", lambda new: writers.write_safetensors(models[number], new))
        coreml.save(packages[number], "o.mlpackage")
        write_text("o.json", report)
        pipeline.to_yaml("o.yaml")

    def check() -> tuple[float, ...]:
        json.loads(Path("o.json").read_text())
        assert Pipeline.from_yaml("o.yaml") == pipeline
        weights = (
            torch.load("o.pt", weights_only=True)["weight"],
            safetensors.torch.load_file("o.safetensors")["weight"],
            coreml.read_weights("o.mlpackage")[0].value,
        )
        for weight in weights:
            assert weight.unique().numel() == 1
        return tuple(float(weight[0, 0]) for weight in weights)

    write_all(0)
    moments = random.Random(0)
    replaced = [0, 0, 0]
    for _ in range(KILLS):
        before = check()
        child = os.fork()
        if not child:
            while True:
                write_all(1)
                write_all(0)
        time.sleep(moments.uniform(0.01, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        replaced = [count + (a != b) for count, a, b in zip(replaced, before, check(), strict=True)]
    write_all(1)
    assert check() == (2.0, 2.0, 2.0)
    left = sorted(path.name for path in Path().iterdir())
    assert left == ["o.json", "o.mlpackage", "o.pt", "o.safetensors", "o.yaml"], left
    print(f"{KILLS} killed; replaced {replaced}")


if __name__ == "__main__":
    main()
