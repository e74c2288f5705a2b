"""Schedules on torch models: together, or block by block behind the compressed blocks."""

import copy
import gc
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from corepress.calibration import FisherDiagonal, InputNorms, Schedule, SecondMoment, collect
from corepress.calibration import spool as spools
from corepress.encoding import Dense
from corepress.errors import PlanError, PlanWarning
from corepress.targets import TorchTarget
from corepress.testing.randomness import global_random_state

SEQUENTIAL = Schedule(mode="sequential")
MOMENT = SecondMoment.spec()


def values(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Layer(nn.Module):
    """A residual layer with further arguments, which returns a tuple, as those of language models do."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.act = nn.Linear(6, 8), nn.Linear(8, 6), nn.ReLU(inplace=True)

    def forward(self, hidden, mask=None, *, scale, flags=None):
        assert flags == {"bias": True}
        inner = self.act(self.a(hidden * mask) * scale)
        return hidden + self.b(inner), inner


class Language(nn.Module):
    """Embedding, layers that share arguments, and a head that is tied or not."""

    def __init__(self, kind="chain"):
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.embed = nn.Embedding(10, 6)
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.head = nn.Linear(6, 10, bias=False)

    def forward(self, tokens, mask=None):
        hidden = self.embed(tokens)
        mask = torch.ones(*tokens.shape, 1) if mask is None else mask
        scale = hidden.abs().mean()
        for layer in self.layers:
            if self.kind == "between":
                hidden = hidden * 1
            if self.kind == "stale":
                scale = hidden.abs().mean()
            if self.kind == "nested":
                mask = mask.clone()
            hidden, _ = layer(hidden, mask, scale=scale, flags={"bias": True})
        return self.head(hidden)


class Shared(nn.Module):
    """One block that is called twice, with others around."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.twice, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.last(self.twice(self.twice(self.first(x))))


class Skipping(nn.Module):
    """Blocks with a connection past them, and one that never runs."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down, self.inner, self.up, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(8, 4), nn.Linear(4, 4)

    def forward(self, x):
        down = self.down(x)
        return self.up(torch.cat([down, self.inner(down)], 1))


def images():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.Conv2d(3, 4, 3),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


TOKENS = [torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[7, 8], [9, 0]])]
FEATURES = [values(5, 4, seed=n) for n in range(3)]
LAYERS = Schedule(mode="sequential", blocks=[r"layers\.\d+"])

MODELS = {
    "chain": (Language, TOKENS, LAYERS, "cached"),
    "arguments by name": (Language, [{"tokens": x, "mask": values(*x.shape, 1) > 0} for x in TOKENS], LAYERS, "cached"),
    "work between": (lambda: Language("between"), TOKENS, LAYERS, "replayed"),
    "arguments that follow the blocks": (lambda: Language("stale"), TOKENS, LAYERS, "replayed"),
    "arguments of each block": (lambda: Language("nested"), TOKENS, LAYERS, "replayed"),
    "children": (Language, TOKENS, SEQUENTIAL, "cached"),
    "called twice": (Shared, FEATURES, SEQUENTIAL, "replayed"),
    "skipping": (Skipping, FEATURES, SEQUENTIAL, "cached"),
    "sequential": (images, [values(2, 2, 6, 6, seed=n) for n in range(2)], SEQUENTIAL, "cached"),
    "encoder": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2),
        [values(2, 3, 4), values(1, 5, 4)],
        LAYERS,
        "cached",
    ),
}


def rounded(weight):
    return Dense((weight.read() * 4).round() / 4)


def specs(target, *spec):
    return {weight.name: spec for weight in target.weights() if weight.facts.kind != "layer_norm"}


def compressed(model, data, schedule, *spec, loss_fn=None, **options):
    """Return the statistics of a model whose weights are rounded segment by segment, and the names of the segments."""
    target = TorchTarget(copy.deepcopy(model))
    found, order = {}, []
    for segment in target.segments(schedule, specs(target, *spec), data, loss_fn, **options):
        found |= segment.statistics
        order.append((segment.block, segment.names))
        for name in segment.names:
            target.weight(name).write(rounded(target.weight(name)))
    return found, order


def reference(model, data, order, *spec, loss_fn=None):
    """Return the same by passes of the whole model."""
    target = TorchTarget(copy.deepcopy(model))
    found = {}
    for _, names in order:
        weights = [target.weight(name) for name in names]
        found |= collect(target.model, weights, dict.fromkeys(names, spec), data, loss_fn)
        for weight in weights:
            weight.write(rounded(weight))
    return found


@pytest.mark.parametrize("case", MODELS)
def test_each_block_sees_what_the_compressed_blocks_compute(case):
    make, data, schedule, way = MODELS[case]
    model = make()
    found, order = compressed(model, data, schedule, MOMENT)
    expected = reference(model, data, order, MOMENT)
    assert sorted(found) == sorted(specs(TorchTarget(model)))
    for name, statistics in expected.items():
        mine = found[name]["second_moment"]
        assert mine.count == statistics["second_moment"].count, name
        assert torch.allclose(mine.matrix, statistics["second_moment"].matrix, atol=1e-5), name
    assert TorchTarget(model).describe_schedule(schedule, dict.fromkeys(found, (MOMENT,)), data).way == way


def test_sequential_statistics_differ_from_those_of_the_model_as_it_was():
    model = Language()
    together, order = compressed(model, TOKENS, Schedule(), MOMENT)
    assert len(order) == 1
    sequential, order = compressed(model, TOKENS, LAYERS, MOMENT)
    assert [block for block, _ in order] == ["layers.0", "layers.1", "layers.2", ""]
    same = [
        name for name in together if torch.equal(*(f[name]["second_moment"].matrix for f in (together, sequential)))
    ]
    assert same == ["embed.weight", "layers.0.a.weight", "layers.0.b.weight"]


def calls_of(model, data, schedule):
    """Return how often each layer of a model runs."""
    counts = {}
    target = TorchTarget(model)
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *_, name=name: counts.update({name: counts.get(name, 0) + 1}))
    for _ in target.segments(schedule, specs(target, MOMENT), data):
        pass
    return counts


def test_the_cost_of_a_chain_is_linear():
    data = [TOKENS[0]] * 10
    counts = calls_of(Language(), data, LAYERS)
    # The first batch once more, on inputs and for outputs, and once behind all blocks.
    assert counts["layers.0"] == counts["layers.1"] == 1 + 10 + 10 + 10
    assert counts["layers.2"] == 1 + 10 + 10


def test_a_replayed_model_stops_behind_the_block():
    counts = calls_of(Language("between"), [TOKENS[0]] * 10, LAYERS)
    assert counts["layers.0"] == 1 + 10 * 3 + 10
    assert counts["layers.2"] == 1 + 10 + 10
    assert counts["head"] == 1 + 10


def test_blocks_without_requested_weights_are_not_gathered():
    target = TorchTarget(Language())
    requests = {"layers.1.a.weight": [MOMENT]}
    (segment,) = target.segments(LAYERS, requests, TOKENS)
    assert segment.block == "layers.1"
    assert segment.names == ("layers.1.a.weight",)


@pytest.mark.parametrize("kind", ["chain", "between"])
def test_data_that_can_be_read_once_are_kept(kind):
    listed, _ = compressed(Language(kind), TOKENS, LAYERS, MOMENT)
    read = []
    once, _ = compressed(Language(kind), (read.append(1) or batch for batch in TOKENS * 2), LAYERS, MOMENT, most=2)
    assert len(read) == 2
    for name in listed:
        assert torch.equal(listed[name]["second_moment"].matrix, once[name]["second_moment"].matrix)


@pytest.mark.parametrize("memory", [0, 200])
@pytest.mark.parametrize("form", [list, iter])
def test_what_is_more_than_the_memory_goes_to_a_folder_that_is_removed(memory, form, monkeypatch, tmp_path):
    monkeypatch.setattr(spools.tempfile, "tempdir", str(tmp_path))
    written = []
    real = torch.save
    monkeypatch.setattr(torch, "save", lambda *a, **k: written.append(1) or real(*a, **k))
    schedule = Schedule(mode="sequential", blocks=[r"layers\.\d+"], memory=memory)
    spooled, _ = compressed(Language(), form(TOKENS), schedule, MOMENT)
    kept, _ = compressed(Language(), TOKENS, LAYERS, MOMENT)
    assert written
    assert list(tmp_path.iterdir()) == []
    for name in kept:
        assert torch.equal(kept[name]["second_moment"].matrix, spooled[name]["second_moment"].matrix)


def test_a_schedule_that_is_given_up_leaves_no_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(spools.tempfile, "tempdir", str(tmp_path))
    target = TorchTarget(Language())
    schedule = Schedule(mode="sequential", blocks=[r"layers\.\d+"], memory=0)
    segments = target.segments(schedule, specs(target, MOMENT), TOKENS)
    next(segments)
    assert list(tmp_path.iterdir())
    segments.close()
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def loss_fn(model, batch):
    return F.cross_entropy(model(batch).flatten(0, 1), batch.flatten())


def test_a_loss_is_felt_through_the_compressed_blocks():
    model = Language()
    found, order = compressed(model, TOKENS, LAYERS, FisherDiagonal.spec(), InputNorms.spec(), loss_fn=loss_fn)
    expected = reference(model, TOKENS, order, FisherDiagonal.spec(), InputNorms.spec(), loss_fn=loss_fn)
    for name, statistics in expected.items():
        assert torch.allclose(found[name]["fisher_diagonal"], statistics["fisher_diagonal"], rtol=1e-4)


@pytest.mark.parametrize("case", MODELS)
def test_between_segments_the_model_is_as_it_was(case):
    make, data, schedule, _ = MODELS[case]
    model = make().train()
    before, random = state_of(model), global_random_state()
    target = TorchTarget(model)
    for _ in target.segments(schedule, specs(target, MOMENT), data):
        assert state_of(model) == before
        assert global_random_state() == random
        assert torch.backends.mha.get_fastpath_enabled()
    assert state_of(model) == before


def state_of(model):
    return [
        [
            (id(module), module.training, len(module._forward_hooks), len(module._forward_pre_hooks))
            for module in model.modules()
        ],
        [(id(p), p.tolist(), p.grad, p.requires_grad) for p in model.parameters()],
        [(id(b), b.tolist()) for b in model.buffers()],
    ]


@pytest.mark.parametrize("schedule", [LAYERS, SEQUENTIAL, Schedule()], ids=["layers", "children", "together"])
def test_the_model_is_as_it_was_when_the_data_fail(schedule):
    def failing():
        yield TOKENS[0]
        raise OSError("disk full")

    model = Language()
    before = state_of(model)
    target = TorchTarget(model)
    with pytest.raises(OSError, match="disk full") as caught:
        list(target.segments(schedule, specs(target, MOMENT), failing()))
    assert caught.value.__notes__ == ["while batch 1 of the calibration data was read"]
    assert state_of(model) == before


@pytest.mark.parametrize(("schedule", "who"), [(SEQUENTIAL, "block 0 ran"), (Schedule(), "the model ran")])
def test_a_batch_that_does_not_fit_is_named_with_its_shape(schedule, who):
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
    target = TorchTarget(model)
    batches = [torch.rand(4, 8), torch.rand(4, 7)]
    with pytest.raises(RuntimeError) as caught:
        list(target.segments(schedule, specs(target, MOMENT), batches))
    (note,) = caught.value.__notes__
    assert who in note
    assert "batch 1 of the calibration data" in note
    assert "(4, 7)" in note


def test_the_plan_of_a_chain_tells_passes_and_bytes():
    target = TorchTarget(Language())
    plan = target.describe_schedule(LAYERS, specs(target, MOMENT), [TOKENS[0]] * 4)
    assert (plan.way, plan.passes, plan.blocks) == ("cached", 4, ("layers.0", "layers.1", "layers.2"))
    # One layer (moments of 6 and 8 columns), and for each batch the hidden tensor, the mask and the scale.
    assert plan.peak_bytes == 4 * (6 * 6 + 8 * 8) + 4 * (4 * 36 + 4 * 6 + 4)
    assert plan.describe() == (
        "calibration: 3 blocks one after another, on cached block inputs, 4 passes, about 0.0 MiB of statistics and "
        "cached inputs"
    )


def test_the_plan_of_a_replayed_model_says_why():
    target = TorchTarget(Language("between"))
    plan = target.describe_schedule(LAYERS, specs(target, MOMENT), TOKENS)
    assert (plan.way, plan.passes) == ("replayed", 4)
    assert plan.reason.startswith("layers.1 does not read the output of the block before as it is")


def test_the_plan_reads_nothing_of_data_that_can_be_read_once():
    target = TorchTarget(Language())
    data = iter(TOKENS)
    plan = target.describe_schedule(LAYERS, specs(target, MOMENT), data)
    assert plan.reason == "cached inputs where the first batch shows a chain of blocks"
    assert next(data) is TOKENS[0]


def test_the_plan_of_labelled_batches_needs_the_loss_to_see_the_chain():
    target = TorchTarget(Language())
    data = [(tokens, tokens, tokens) for tokens in TOKENS]
    plan = target.describe_schedule(LAYERS, specs(target, MOMENT), data)
    assert plan.way == "replayed"
    assert plan.reason.startswith("the first batch does not run without a loss: TypeError: ")
    plan = target.describe_schedule(LAYERS, specs(target, MOMENT), data, lambda model, batch: model(batch[0]).sum())
    assert plan.way == "cached"


def test_the_plan_of_one_pass_counts_the_statistics():
    target = TorchTarget(nn.Linear(4, 2))
    plan = target.describe_schedule(Schedule(), {"weight": [MOMENT]})
    assert (plan.way, plan.passes, plan.peak_bytes) == ("together", 1, 64)


def segments_of(model, schedule, data, **options):
    target = TorchTarget(model)
    return target.segments(schedule, specs(target, MOMENT), data, **options)


def test_blocks_that_match_nothing_are_refused_before_any_work_with_the_nearest_names():
    schedule = Schedule(mode="sequential", blocks=[r"layers\.\d+", "layer.1", "nothing"])
    with pytest.raises(
        PlanError, match=r"'layer\.1' matches no module; did you mean 'layers\.1'.*'nothing' matches no"
    ):
        segments_of(Language(), schedule, TOKENS)


def test_a_block_that_is_no_regular_expression_is_refused():
    with pytest.raises(PlanError, match=r"'layers\.\(' is no regular expression"):
        segments_of(Language(), Schedule(mode="sequential", blocks=["layers.("]), TOKENS)


@pytest.mark.parametrize("schedule", [LAYERS, Schedule()])
def test_an_empty_loader_is_refused(schedule):
    with pytest.raises(PlanError, match="the calibration data is empty"):
        list(segments_of(Language(), schedule, []))


@pytest.mark.parametrize("kind", ["chain", "between"])
def test_fewer_batches_than_asked_for_are_warned_of_once(kind):
    with pytest.warns(PlanWarning, match="ended after 2 of the 5 batches") as caught:
        list(segments_of(Language(kind), LAYERS, TOKENS, fewest=5))
    assert len(caught) == 1


def test_no_more_batches_are_read_than_the_schedule_allows():
    schedule = Schedule(mode="sequential", blocks=["layers"], batches=1)
    target = TorchTarget(Language())
    found = {}
    for segment in target.segments(schedule, specs(target, MOMENT), TOKENS, most=5):
        found |= segment.statistics
    assert found["layers.2.a.weight"]["second_moment"].count == 6


@pytest.mark.parametrize("kind", ["chain", "between"])
def test_inputs_that_are_not_finite_are_refused_with_batch_and_layer(kind):
    data = [{"tokens": x, "mask": torch.ones(*x.shape, 1)} for x in TOKENS]
    data[1]["mask"][0, 0] = float("nan")
    with pytest.raises(
        PlanError, match=r"batch 1 of the calibration data: the input of layers\.0\.a\.weight holds NaN"
    ):
        list(segments_of(Language(kind), LAYERS, data))


def test_batches_with_other_arguments_than_the_first_are_refused_where_inputs_are_cached():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(Masked() for _ in range(2))

        def forward(self, x, **more):
            for layer in self.layers:
                x = layer(x, **more)
            return x

    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)

        def forward(self, x, mask=1):
            return super().forward(x * mask)

    data = [{"x": values(3, 4), "mask": torch.ones(4)}, {"x": values(3, 4)}]
    with pytest.raises(PlanError, match=r"batch 1 .* calls block layers\.0 with other arguments than batch 0"):
        list(segments_of(Optional(), LAYERS, data))


def test_an_object_that_may_keep_state_breaks_the_chain():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(Remembering() for _ in range(2))

        def forward(self, x):
            memory = Memory()
            for layer in self.layers:
                x = layer(x, memory)
            return x

    class Memory:
        def __init__(self):
            self.seen = 0

    class Remembering(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)

        def forward(self, x, memory):
            memory.seen += 1
            return super().forward(x * memory.seen)

    model = Keeping()
    found, order = compressed(model, FEATURES, LAYERS, MOMENT)
    expected = reference(model, FEATURES, order, MOMENT)
    for name in expected:
        assert torch.allclose(found[name]["second_moment"].matrix, expected[name]["second_moment"].matrix, atol=1e-5)
    plan = TorchTarget(model).describe_schedule(LAYERS, dict.fromkeys(found, (MOMENT,)), FEATURES)
    assert plan.reason == "layers.0 gets an argument of type Memory, which may keep state"


def test_a_weight_that_blocks_share_comes_behind_all_of_them():
    model = Language()
    model.layers[2].a = model.layers[0].a
    found, order = compressed(model, TOKENS, LAYERS, MOMENT)
    assert "layers.0.a.weight" in order[-1][1]
    assert found["layers.0.a.weight"]["second_moment"].count == 2 * (6 + 4)


def test_a_layer_that_saw_no_data_has_a_count_of_zero():
    found, order = compressed(Skipping(), FEATURES, SEQUENTIAL, MOMENT)
    assert order[-1] == ("", ("unused.weight",))
    assert found["unused.weight"]["second_moment"].count == 0


def test_another_parameter_of_a_module_can_be_requested():
    target = TorchTarget(nn.Sequential(nn.Linear(4, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (segment,) = target.segments(Schedule(), {"0.bias": [FisherDiagonal.spec()]}, FEATURES, lambda m, b: m(b).sum())
    assert segment.names == ("0.bias",)


def test_a_name_that_is_no_weight_is_refused_with_the_nearest():
    with pytest.raises(PlanError, match=r"the model has no weight 'wieght'; did you mean 'weight'"):
        TorchTarget(nn.Linear(4, 2)).segments(Schedule(), {"wieght": [MOMENT]}, FEATURES)


def test_a_loss_that_is_missing_is_told_before_any_work():
    with pytest.raises(PlanError, match="needs gradients of a loss"):
        TorchTarget(nn.Linear(4, 2)).segments(LAYERS, {"weight": [FisherDiagonal.spec()]}, FEATURES)


@pytest.mark.parametrize("kind", ["chain", "between"])
def test_statistics_of_one_segment_are_in_memory_at_a_time(kind):
    target = TorchTarget(Language(kind))
    segments = target.segments(LAYERS, specs(target, MOMENT), TOKENS)
    matrix = weakref.ref(next(segments).statistics["layers.0.a.weight"]["second_moment"].matrix)
    gc.collect()
    assert matrix() is None
    next(segments)
