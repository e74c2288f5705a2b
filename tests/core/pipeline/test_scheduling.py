import io

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.algorithm import Statistic, StatisticSpec, Unsupported, WeightAlgorithm
from corepress.calibration import Schedule
from corepress.encoding import Dense
from corepress.errors import ConfigError, PlanError
from corepress.pipeline import recipe

SEQUENTIAL = {"mode": "sequential", "blocks": [r"layers\.\d+"], "batches": 4}


def test_a_recipe_holds_the_calibration_of_a_stage():
    pipeline = Pipeline([Stage("skm", None, SEQUENTIAL)])
    text = pipeline.to_yaml()
    again = Pipeline.from_yaml(io.StringIO(text))
    assert again == pipeline
    assert again.stages[0].calibration == Schedule(mode="sequential", blocks=(r"layers\.\d+",), batches=4)
    assert "calibration:" not in Pipeline([Stage("skm")]).to_yaml()


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ("sequential", r"must be a mapping, got 'sequential'"),
        ({"modes": "sequential"}, r"unknown key 'modes' of a calibration; did you mean 'mode'"),
        ({"mode": "sequentially"}, r"'mode' must be in \('together', 'sequential'\) \(got 'sequentially'\)"),
        ({"batches": 0}, r"'batches' must be >= 1: 0"),
        ({"blocks": "layers"}, r"blocks must be a list of names or regular expressions, not the string 'layers'"),
    ],
)
def test_a_wrong_calibration_is_an_error_that_says_where(calibration, message):
    with pytest.raises(ConfigError, match=rf"stages\[0\]\.calibration.*{message}"):
        Pipeline([Stage("skm", None, calibration)])


def test_the_schema_knows_the_calibration():
    schema = recipe.recipe_schema()
    stage = schema["properties"]["stages"]["items"]["anyOf"][0]
    assert stage["properties"]["calibration"]["properties"]["mode"]["enum"] == ["together", "sequential"]


class Seen(Statistic):
    """The mean of what a layer reads."""

    def __init__(self, facts):
        self.total, self.count = 0.0, 0

    @classmethod
    def spec(cls):
        return StatisticSpec("seen", "inputs", cls)

    def observe(self, seen):
        columns = seen.columns()
        self.total += float(columns.sum())
        self.count += columns.numel()

    def result(self):
        return self.total / max(self.count, 1)


@pytest.fixture
def doubling(toys, monkeypatch):
    """Make the toy algorithm double each weight, and return what each layer was calibrated on, by weight name."""
    import toy_algorithms

    found = {}

    def encode(self, weight, config, statistics, rng):
        found[weight.name] = statistics["seen"]
        if weight.name == "skipped.weight":
            raise Unsupported("not this one")
        return Dense(weight.values * 2)

    for cls in vars(toy_algorithms).values():
        if isinstance(cls, type) and issubclass(cls, WeightAlgorithm) and cls is not WeightAlgorithm:
            monkeypatch.setattr(cls, "encode", encode)
            monkeypatch.setattr(cls, "statistics", lambda self, config: [Seen.spec()])
            monkeypatch.setattr(cls, "predict", lambda self, weight, config: None)
    monkeypatch.setattr("corepress.pipeline.encoder._check_promise", lambda stage, result: None)
    return found


class Chain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(3))
        for layer in self.layers:
            layer.weight.data = torch.eye(4)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.filterwarnings("ignore::corepress.errors.PlanWarning")
@pytest.mark.parametrize(("mode", "expected"), [("together", [1, 1, 1]), ("sequential", [1, 2, 4])])
def test_blocks_are_calibrated_on_what_the_compressed_blocks_before_compute(doubling, mode, expected):
    calibration = {"mode": mode, "blocks": [r"layers\.\d"] if mode == "sequential" else None}
    model = Chain()
    small = Pipeline([Stage("sign_one_shot", None, calibration)]).compress(model, data=[torch.ones(2, 4)] * 2)
    assert [doubling[f"layers.{i}.weight"] for i in range(3)] == expected
    assert torch.equal(small(torch.ones(1, 4)), torch.full((1, 4), 8.0))
    assert torch.equal(model(torch.ones(1, 4)), torch.ones(1, 4))


def test_the_plan_says_how_blocks_are_calibrated(doubling):
    pipeline = Pipeline([Stage("sign_one_shot", None, {"mode": "sequential", "blocks": [r"layers\.\d"]})])
    plan = pipeline.plan(Chain(), data=[torch.ones(2, 4)])
    (note,) = plan.notes
    assert note.startswith("stage 1 (sign_one_shot): calibration: 3 blocks one after another, on cached block inputs, ")
    assert note in str(plan)
    assert plan.as_dict()["notes"] == [note]


def test_blocks_that_match_nothing_are_an_error_before_any_work(doubling):
    pipeline = Pipeline([Stage("sign_one_shot", None, {"mode": "sequential", "blocks": ["layer"]})])
    with pytest.raises(PlanError, match="'layer'"):
        pipeline.compress(Chain(), data=[torch.ones(2, 4)])
    assert doubling == {}


@pytest.mark.filterwarnings("ignore::corepress.errors.PlanWarning")
def test_a_generator_serves_every_stage_that_needs_data(doubling):
    read = []

    def batches():
        for number in range(3):
            read.append(number)
            yield torch.ones(2, 4)

    stages = [
        Stage("sign_one_shot", {"module_name_configs": {"layers.0": {}}}),
        Stage("sign_one_shot", {"module_name_configs": {"layers.[12]": {}}}, {"mode": "sequential"}),
    ]
    Pipeline(stages).compress(Chain(), data=batches())
    assert read == [0, 1, 2]
    assert [doubling[f"layers.{i}.weight"] for i in range(3)] == [1, 2, 4]
