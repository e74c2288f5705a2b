"""Statistics of programs: columns of every operation, and block by block for any program."""

import itertools

import coremltools
import numpy as np
import pytest
import torch
from tests.core.coreml import programs
from torch import nn

from corepress.algorithm import Statistic, StatisticSpec
from corepress.calibration import FisherDiagonal, InputNorms, Schedule, SecondMoment, collect
from corepress.coreml import CoreMLTarget, convert, run
from corepress.coreml._coremltools import mb, types
from corepress.coreml.interpreter.steps import Step
from corepress.encoding import Dense
from corepress.errors import ExportError, PlanError, PlanWarning
from corepress.targets import geometry, torch_weights

MOMENT, NORMS = SecondMoment.spec(), InputNorms.spec()
SEQUENTIAL = Schedule(mode="sequential")


def values(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Seen(Statistic):
    """Keeps all inputs."""

    def __init__(self, facts):
        self.columns, self.tokens = [], []

    def observe(self, seen):
        self.columns.append(seen.columns())
        self.tokens.append(seen.tokens())

    def result(self):
        return self


class Old(Statistic):
    """Knows only torch modules."""

    def observe_input(self, module, inputs):
        raise NotImplementedError

    def result(self):
        return None


SEEN = StatisticSpec("seen", "inputs", Seen)


def built(function, *shapes, dtype=types.fp32):
    specs = [mb.TensorSpec(shape, dtype=dtype) for shape in shapes]
    return programs.package(mb.program(input_specs=specs, opset_version=programs.opset("iOS18"))(function), "iOS18")


def const(*shape, name="w"):
    return mb.const(val=values(*shape, seed=1), name=name)


def gathered(model, data, *specs, schedule=None, names=None):
    target = CoreMLTarget(model)
    names = names or [weight.name for weight in target.weights()]
    found = {}
    for segment in target.segments(schedule or Schedule(), dict.fromkeys(names, specs), data):
        found |= segment.statistics
    return target, found


WINDOWS = [
    ((3, 2), "valid"),
    ((3, 2), "same"),
    ((2, 3), "same_lower"),
    ((3, 3), "custom"),
    ((3,), "same"),
    ((2, 2, 2), "valid"),
]
CONVOLUTIONS = [
    {"kernel": kernel, "pad_type": pad_type, "strides": strides, "dilations": dilations, "groups": groups}
    for (kernel, pad_type), (strides, dilations, groups) in itertools.product(WINDOWS, [(1, 2, 1), (2, 1, 2)])
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_a_convolution_is_the_product_of_its_weight_and_its_windows(options, monkeypatch):
    monkeypatch.setattr(geometry, "MOST_BYTES", 300)
    options = dict(options)
    kernel, groups = options.pop("kernel"), options["groups"]
    rank = len(kernel)
    options |= {key: [options[key]] * rank for key in ("strides", "dilations")}
    if options["pad_type"] == "custom":
        options["pad"] = [0, 1, 2, 0]

    def main(x):
        return mb.conv(x=x, weight=const(4, 4 // groups, *kernel), name="y", **options)

    x = {"x": values(2, 4, *[6] * rank)}
    model = built(main, x["x"].shape)
    target, found = gathered(model, [x], SEEN)
    weight = target.weight("w")
    (columns,) = found["w"]["seen"].columns
    rows = torch.bmm(columns, weight.facts.to_matrix(weight.read()).mT).permute(1, 0, 2).flatten(1)
    expected = torch.from_numpy(run(model, x)["y"]).movedim(1, -1).reshape(-1, 4)
    assert torch.allclose(rows, expected, atol=1e-5)


def test_a_transposed_convolution_has_its_input_channels_as_columns():
    def main(x):
        return mb.conv_transpose(x=x, weight=const(4, 3, 2, 2), strides=[2, 2], groups=2, name="y")

    x = values(1, 4, 5, 5)
    target, found = gathered(built(main, x.shape), [{"x": x}], SEEN)
    expected = torch.from_numpy(x).reshape(2, 2, 25).mT
    assert target.weight("w").facts.matrix_shape == (2, 12, 2)
    assert torch.equal(found["w"]["seen"].columns[0], expected)


MATMULS = {
    "y": (lambda x: mb.matmul(x=x, y=const(4, 5), name="y"), (3, 2, 4)),
    "y transposed": (lambda x: mb.matmul(x=x, y=const(5, 4), transpose_y=True, name="y"), (3, 2, 4)),
    "x transposed": (lambda x: mb.matmul(x=x, y=const(4, 5), transpose_x=True, name="y"), (3, 4, 2)),
    "x": (lambda x: mb.matmul(x=const(5, 4), y=x, name="y"), (3, 4, 2)),
    "x transposed itself": (lambda x: mb.matmul(x=const(4, 5), y=x, transpose_x=True, name="y"), (3, 4, 2)),
    "x, y transposed": (lambda x: mb.matmul(x=const(5, 4), y=x, transpose_y=True, name="y"), (3, 2, 4)),
    "a matrix for each batch": (lambda x: mb.matmul(x=x, y=const(3, 4, 5), name="y"), (3, 2, 4)),
    "a matrix for each head": (lambda x: mb.matmul(x=x, y=const(3, 1, 4, 5), name="y"), (2, 3, 6, 2, 4)),
    "one batch": (lambda x: mb.matmul(x=x, y=const(1, 4, 5), name="y"), (3, 2, 4)),
    "x for each batch": (lambda x: mb.matmul(x=const(3, 5, 4), y=x, name="y"), (3, 4, 2)),
}


@pytest.mark.parametrize("case", MATMULS)
def test_a_product_of_matrices_is_the_product_of_its_weight_and_the_other_factor(case):
    function, shape = MATMULS[case]
    x = values(*shape)
    model = built(function, shape)
    target, found = gathered(model, [{"x": x}], SEEN)
    weight = target.weight("w")
    (columns,) = found["w"]["seen"].columns
    assert columns.shape[::2] == weight.facts.matrix_shape[::2]
    rows = torch.bmm(columns, weight.facts.to_matrix(weight.read()).mT)
    expected = run(model, {"x": x})["y"]
    assert torch.allclose(rows.flatten().sort()[0], torch.from_numpy(expected).flatten().sort()[0], atol=1e-5)


def test_a_linear_layer_and_an_embedding_that_share_a_table_are_both_seen():
    tokens = np.array([1, 2, 31, -1], np.int32)
    target, found = gathered(programs.tied(), [{"x": tokens}], SEEN, MOMENT, names=["shared"])
    seen = found["shared"]["seen"]
    assert [None if t is None else t.tolist() for t in seen.tokens] == [[1, 2, 31, 31], None]
    table = target.weight("shared").read()
    assert seen.columns[0] is None
    assert torch.equal(seen.columns[1][0], table[[1, 2, 31, 31]])
    assert found["shared"]["second_moment"].count == 4


def test_layers_that_read_one_value_share_one_moment():
    def main(x):
        return [mb.linear(x=x, weight=const(5, 4, name=name), name=f"{name}_op") for name in "qkv"]

    _, found = gathered(built(main, (3, 4)), [{"x": values(3, 4, seed=n)} for n in range(3)], MOMENT)
    assert len({each["second_moment"].matrix.data_ptr() for each in found.values()}) == 1
    assert {each["second_moment"].count for each in found.values()} == {9}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.RNN])
def test_recurrent_layers_read_what_they_read_in_torch(kind, bidirectional):
    torch.manual_seed(0)
    network = kind(4, 6, 2, bidirectional=bidirectional).eval()
    model = convert(network, torch.zeros(5, 1, 4), compute_precision=coremltools.precision.FLOAT32)
    (name,) = [feature.name for feature in model.get_spec().description.input]
    _, found = gathered(model, [{name: values(5, 1, 4)}], MOMENT)
    in_torch = collect(
        network,
        torch_weights(network),
        {weight.name: [MOMENT] for weight in torch_weights(network)},
        [torch.from_numpy(values(5, 1, 4))],
    )
    assert len(found) == len(in_torch) == 8 if bidirectional else 4

    def traces(results):
        return sorted(float(each["second_moment"].matrix.diagonal(dim1=-2, dim2=-1).sum()) for each in results.values())

    assert traces(found) == pytest.approx(traces(in_torch), rel=1e-3)


class Net(nn.Module):
    """Convolutions, a residual connection and attention, in evaluation mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.head = nn.Linear(8, 16)

    def forward(self, x):
        x = self.stem(x).relu().flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = x + block(x).relu()
        return self.head(x)


@pytest.fixture(scope="module")
def net():
    return Net().eval()


@pytest.fixture(scope="module")
def mlmodel(net):
    return convert(net, torch.zeros(1, 3, 8, 8))


IMAGES = [values(1, 3, 8, 8, seed=n) for n in range(3)]


def test_a_program_has_the_moments_of_the_model_that_it_was_made_of(net, mlmodel):
    weights = torch_weights(net)
    expected = collect(net, weights, {weight.name: [MOMENT] for weight in weights}, map(torch.from_numpy, IMAGES))
    target, found = gathered(mlmodel, IMAGES, MOMENT)
    for weight in target.weights():
        (name,) = set(weight.facts.aliases) & expected.keys()
        mine, wanted = found[weight.name]["second_moment"], expected[name]["second_moment"]
        assert mine.count == wanted.count
        assert torch.allclose(mine.matrix, wanted.matrix, rtol=0.02, atol=0.02)


def rounded(weight):
    return Dense((weight.read() * 4).round() / 4)


def compressed(model, schedule, data=IMAGES, **options):
    target = CoreMLTarget(model)
    found, order = {}, []
    requests = {weight.name: [MOMENT] for weight in target.weights()}
    for segment in target.segments(schedule, requests, data, **options):
        found |= segment.statistics
        order.append(segment)
        for name in segment.names:
            target.weight(name).write(rounded(target.weight(name)))
    return target, found, order


def reference(model, order, data=IMAGES):
    target = CoreMLTarget(model)
    found = {}
    for segment in order:
        for part in target.segments(Schedule(), {name: [MOMENT] for name in segment.names}, data):
            found |= part.statistics
        for name in segment.names:
            target.weight(name).write(rounded(target.weight(name)))
    return found


SCHEDULES = {
    "weight by weight": SEQUENTIAL,
    "modules": Schedule(mode="sequential", blocks=[r"blocks\.\d+"]),
    "operations": Schedule(mode="sequential", blocks=["stem", r"blocks_\d+"]),
    "spooled": Schedule(mode="sequential", memory=0),
}


@pytest.mark.parametrize("case", SCHEDULES)
@pytest.mark.parametrize("form", [list, iter])
def test_each_block_sees_what_the_compressed_blocks_compute(mlmodel, case, form):
    _, found, order = compressed(mlmodel, SCHEDULES[case], form(IMAGES))
    expected = reference(mlmodel, order)
    assert len(order) > 2
    assert found.keys() == expected.keys()
    for name in expected:
        mine, wanted = found[name]["second_moment"], expected[name]["second_moment"]
        assert mine.count == wanted.count
        assert torch.equal(mine.matrix, wanted.matrix), name


def test_blocks_are_named_by_the_modules_of_the_torch_model(mlmodel):
    _, _, order = compressed(mlmodel, SCHEDULES["modules"])
    assert [segment.block for segment in order] == ["blocks.0", "blocks.1", "blocks.2", ""]
    assert len(order[-1].names) == 2


def test_a_table_that_is_read_at_both_ends_is_seen_behind_all_others():
    rng = np.random.default_rng(0)

    def main(x):
        shared = mb.const(val=rng.standard_normal((12, 4)).astype(np.float32), name="shared")
        x = mb.gather(x=shared, indices=x, axis=0)
        x = mb.linear(x=x, weight=const(4, 4, name="first"))
        x = mb.linear(x=x, weight=const(4, 4, name="second"))
        return mb.linear(x=x, weight=shared)

    model = built(main, (3,), dtype=types.int32)
    data = [{"x": np.array([n, 5, 7], np.int32)} for n in range(3)]
    _, found, order = compressed(model, SEQUENTIAL, data)
    assert [segment.names for segment in order] == [("first",), ("second",), ("shared",)]
    expected = reference(model, order, data)
    for name in expected:
        assert torch.equal(found[name]["second_moment"].matrix, expected[name]["second_moment"].matrix)


def steps_of(model, data, monkeypatch):
    ran = []
    real = Step.execute
    monkeypatch.setattr(Step, "execute", lambda self, values: ran.append(self.op_name) or real(self, values))
    compressed(model, SEQUENTIAL, data)
    return ran


def test_the_cost_of_a_sequential_schedule_is_linear(mlmodel, monkeypatch):
    ran = steps_of(mlmodel, IMAGES, monkeypatch)
    assert max(ran.count(name) for name in set(ran)) <= 2 * len(IMAGES)


def test_compression_from_before_is_seen(mlmodel):
    target = CoreMLTarget(mlmodel)
    for weight in target.weights():
        weight.write(rounded(weight))
    requests = {weight.name: [MOMENT] for weight in target.weights()}
    (pending,) = target.copy().segments(Schedule(), requests, IMAGES)
    (written,) = CoreMLTarget(target.result()).segments(Schedule(), requests, IMAGES)
    for name in requests:
        assert torch.allclose(
            pending.statistics[name]["second_moment"].matrix,
            written.statistics[name]["second_moment"].matrix,
            atol=1e-6,
        )


def test_nothing_behind_the_last_layer_is_computed(monkeypatch):
    def main(x):
        return mb.exp(x=mb.linear(x=x, weight=const(5, 4)), name="behind")

    ran = []
    real = Step.execute
    monkeypatch.setattr(Step, "execute", lambda self, values: ran.append(self.op_name) or real(self, values))
    gathered(built(main, (3, 4)), [{"x": values(3, 4)}], MOMENT)
    assert "behind" not in ran


def test_the_plan_tells_passes_and_bytes(mlmodel):
    target = CoreMLTarget(mlmodel)
    requests = {weight.name: [MOMENT] for weight in target.weights()}
    together = target.describe_schedule(Schedule(), requests)
    assert (together.way, together.passes) == ("together", 1)
    plan = target.describe_schedule(SCHEDULES["modules"], requests, IMAGES)
    assert (plan.way, plan.passes, plan.blocks) == ("cached", 3, ("blocks.0", "blocks.1", "blocks.2"))
    assert plan.peak_bytes >= 4 * 27**2 + 4 * 3 * 8 * 16


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (FisherDiagonal.spec(), "fisher_diagonal needs gradients of a loss, which a Core ML program cannot give"),
        (
            StatisticSpec(
                "old", "inputs", type("Old", (Seen,), {"observe_input": lambda *_: None, "observe": Statistic.observe})
            ),
            r"old reads the inputs of torch modules; let its class override observe\(seen\)",
        ),
    ],
)
def test_statistics_that_a_program_cannot_give_are_refused_before_any_work(mlmodel, spec, reason):
    target = CoreMLTarget(mlmodel)
    name = target.weights()[0].name
    with pytest.raises(PlanError, match=reason):
        target.segments(Schedule(), {name: [spec]}, IMAGES)
    assert target.why_not_gathered(spec)
    assert target.why_not_gathered(MOMENT) is None


def test_names_and_blocks_that_match_nothing_are_refused_with_the_nearest(mlmodel):
    target = CoreMLTarget(mlmodel)
    name = target.weights()[0].name
    with pytest.raises(PlanError, match=rf"the program has no weight '{name}x'; did you mean '{name}'"):
        target.segments(Schedule(), {f"{name}x": [MOMENT]}, IMAGES)
    with pytest.raises(PlanError, match=r"'blocs' matches no operation, weight or module; did you mean 'blocks'"):
        target.segments(Schedule(mode="sequential", blocks=["blocs"]), {name: [MOMENT]}, IMAGES)
    with pytest.raises(PlanError, match=r"'blocks\(' is no regular expression"):
        target.segments(Schedule(mode="sequential", blocks=["blocks("]), {name: [MOMENT]}, IMAGES)


def test_data_are_refused_with_the_number_of_the_batch(mlmodel):
    with pytest.raises(PlanError, match="the calibration data is empty"):
        gathered(mlmodel, [], MOMENT)
    with pytest.raises(ExportError, match=r"batch 1 of the calibration data: input 'x' must be"):
        gathered(mlmodel, [IMAGES[0], IMAGES[0][:, :2]], MOMENT)
    bad = IMAGES[1].copy()
    bad[0, 0, 0, 0] = np.nan
    with pytest.raises(PlanError, match=r"batch 1 of the calibration data: the input of stem_weight.* holds NaN"):
        gathered(mlmodel, [IMAGES[0], bad], MOMENT)
    with pytest.raises(PlanError, match="put a single batch in a list"):
        gathered(mlmodel, {"x": IMAGES[0]}, MOMENT)


def test_fewer_batches_than_asked_for_are_warned_of(mlmodel):
    with pytest.warns(PlanWarning, match="ended after 3 of the 5 batches"):
        compressed(mlmodel, SEQUENTIAL, fewest=5)
