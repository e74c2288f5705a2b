"""Whatever a package holds, only errors of corepress come of it."""

import json
import random
import shutil

import coremltools as ct
import numpy as np
import pytest
import torch
from tests.fuzz.counts import count
from tests.fuzz.mutation import damaged, damaged_bytes, damaged_text
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import Executable, convert, inspect, read_weights, verify
from corepress.errors import CorepressError

BATCHES = 20
RECORDS = ("weights", "parts", "unused", "origins", "recipe", "plugins")

pytestmark = pytest.mark.filterwarnings("ignore")


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.rnn, self.head = nn.Conv1d(4, 8, 3), nn.LSTM(8, 8), nn.Linear(8, 6)

    def forward(self, x):
        return self.head(self.rnn(torch.relu(self.conv(x)).permute(2, 0, 1))[0])


INPUTS = torch.randn(1, 4, 10, generator=torch.Generator().manual_seed(0))
RECIPES = {
    "dense": [],
    "palette": [Stage("kmeans", {"global_config": {"n_bits": 3, "weight_threshold": 0}})],
    "integers": [
        Stage("rtn", {"global_config": {"weight_dtype": "uint4", "granularity": "per_block", "block_size": 4}})
    ],
    "joint": [
        Stage(
            "magnitude", {"module_type_configs": {"LSTM": {"weight_threshold": 0}, "Linear": {"weight_threshold": 0}}}
        ),
        Stage("kmeans", {"global_config": {"n_bits": 4, "lut_dtype": "int8"}}),
    ],
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Sound packages, each with the model that it was made of."""
    folder = tmp_path_factory.mktemp("sound")
    found = []
    for name, stages in RECIPES.items():
        model = Pipeline(stages).compress(Small()) if stages else Small()
        convert(model.eval(), INPUTS).save(str(folder / f"{name}.mlpackage"))
        found.append((folder / f"{name}.mlpackage", model))
    return found


def use(package, model, numbers):
    """Do one of the things that people do with a package."""
    match numbers.randrange(5):
        case 0:
            for weight in read_weights(package):
                weight.encoding.decode()
        case 1:
            str(inspect(package))
        case 2:
            executable = Executable(package)
            executable.run(
                {each.name: np.zeros([n or 1 for n in each.shape], np.float32) for each in executable.inputs}
            )
        case 3:
            str(verify(package, model, INPUTS))
        case _:
            stage = numbers.choice([RECIPES["palette"], RECIPES["integers"]])
            Pipeline(stage).compress(package)


def damage_file(package, numbers):
    """Damage the bytes of a file, or take it away."""
    files = sorted(path for path in package.rglob("*") if path.is_file())
    chosen = numbers.choice(files)
    if numbers.random() < 0.1:
        chosen.unlink()
    else:
        chosen.write_bytes(damaged_bytes(chosen.read_bytes(), numbers))
    return f"{chosen.name} of {package.name}"


def damage_specification(package, numbers):
    """Change what the specification says: its version, its interface, what it records, or its operations."""
    (path,) = package.rglob("*.mlmodel")
    spec = ct.proto.Model_pb2.Model.FromString(path.read_bytes())
    described = "the specification"
    match numbers.randrange(4):
        case 0:
            spec.specificationVersion = numbers.choice([0, 1, 5, 6, 7, 8, 10, 11, 99, 2**31 - 1])
            described = f"specification {spec.specificationVersion}"
        case 1:
            record = numbers.choice(RECORDS)
            sound = spec.description.metadata.userDefined.get(f"com.corepress.{record}", "") or "{}"
            worse = (
                damaged_text(sound, numbers).encode(errors="ignore").decode()
                if record in ("recipe", "plugins")
                else json.dumps(damaged(json.loads(sound), numbers), default=repr)
            )
            changed = numbers.choice(["", "{", "[]", "null", "3", worse])
            spec.description.metadata.userDefined[f"com.corepress.{record}"] = changed
            described = f"{record} = {changed[:200]}"
        case 2:
            features = [*spec.description.input, *spec.description.output]
            feature = numbers.choice(features)
            feature.name = numbers.choice(["", "other", feature.name * 2])
        case _:
            (function,) = spec.mlProgram.functions.values()
            (block,) = function.block_specializations.values()
            operation = numbers.choice(list(block.operations))
            match numbers.randrange(4):
                case 0:
                    operation.type = numbers.choice(["nothing", "constexpr_lut_to_dense", "conv", ""])
                case 1 if operation.inputs:
                    del operation.inputs[numbers.choice(sorted(operation.inputs))]
                case 2 if operation.outputs:
                    operation.outputs[0].name = numbers.choice(["", "x", "y z"])
                case _:
                    block.operations.remove(operation)
            described = f"operation {operation.type}"
    path.write_bytes(spec.SerializeToString())
    return f"{described} of {package.name}"


@pytest.mark.parametrize("damage", [damage_file, damage_specification], ids=["bytes", "specification"])
@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_packages_are_refused_in_the_words_of_corepress(batch, damage, sound, tmp_path):
    numbers = random.Random(batch)
    for number in range(count(4, 125)):
        source, model = numbers.choice(sound)
        package = tmp_path / f"{number}.mlpackage"
        shutil.copytree(source, package)
        what = damage(package, numbers)
        try:
            use(package, model, numbers)
        except CorepressError as error:
            text = str(error)
        except Exception as error:
            raise AssertionError(f"{what} of {source.name}: {type(error).__name__}: {error}") from error
        else:
            text = "accepted"
        assert text.strip(), what
        shutil.rmtree(package)


def test_sound_packages_are_used_without_errors(sound):
    for package, model in sound:
        for choice in range(5):
            numbers = random.Random(choice)
            use(package, model, numbers)
