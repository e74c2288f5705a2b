"""Pruning, palettization and quantization of weights and activations in one training, in one pipeline or in two."""

import itertools

import pytest
import torch
from tests.networks.residual import ResidualNetwork
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, verify
from corepress.errors import PlanError
from corepress.targets import torch_weights
from corepress.testing.checks.run import saved_and_loaded
from corepress.testing.snapshot import different_tensors
from corepress_plugins.palettization import DKMPalettizer
from corepress_plugins.pruning import MagnitudePruner
from corepress_plugins.quantization import LinearQuantizer

TWO_BITS = {"n_bits": 2, "weight_threshold": 0}
STAGES = {
    "prune": Stage("magnitude", {"global_config": {"target_sparsity": 0.5}}),
    "qat": Stage("linear_qat", {}),
    "weights": Stage("linear_qat", {"global_config": {"activation_dtype": "float32", "weight_dtype": "int4"}}),
    "activations": Stage("linear_qat", {"global_config": {"weight_dtype": "float32"}}),
    "learned": Stage("linear_qat", {"global_config": {"algorithm": "learnable", "weight_dtype": "int4"}}),
    "dkm": Stage("dkm", {"global_config": TWO_BITS}),
    "dkm int8": Stage("dkm", {"global_config": {**TWO_BITS, "lut_dtype": "int8"}}),
    "dkm activations": Stage("dkm", {"global_config": {**TWO_BITS, "quantize_activations": True}}),
}
JOINT = {
    ("prune", "qat"): "50% sparse, int8",
    ("qat", "prune"): "50% sparse, int8",
    ("prune", "weights"): "50% sparse, int4",
    ("prune", "learned"): "50% sparse, int4",
    ("prune", "dkm"): "50% sparse, 2-bit palette",
    ("dkm", "activations"): "2-bit palette",
    ("activations", "dkm"): "2-bit palette",
    ("prune", "dkm", "activations"): "50% sparse, 2-bit palette",
    ("dkm activations",): "2-bit palette",
    ("prune", "dkm activations"): "50% sparse, 2-bit palette",
    ("prune", "dkm int8"): "50% sparse, 2-bit palette, int8 LUT",
    ("prune", "dkm int8", "activations"): "50% sparse, 2-bit palette, int8 LUT",
    ("dkm", "qat"): "2-bit palette, int8 LUT",
    ("prune", "qat", "dkm"): "50% sparse, 2-bit palette, int8 LUT",
}
pytestmark = pytest.mark.filterwarnings("ignore:.*weights were skipped")


def trained(steppers, model, steps=range(4)):
    """Train a prepared model for some steps; `steppers` have a `step`."""
    batches = model.batches()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in steps:
        model.train()
        optimizer.zero_grad()
        model(*batches[step % 3]).square().mean().backward()
        optimizer.step()
        for stepper in steppers:
            stepper.step()


@pytest.mark.parametrize("names", JOINT, ids=", ".join)
def test_what_was_shown_is_finished_exported_and_verified(names):
    model = ResidualNetwork()
    batch = model.batches()[0]
    pipeline = Pipeline([STAGES[name] for name in names])
    prepared = pipeline.prepare(model, batch)
    trained([pipeline], prepared)
    shown = prepared.eval()(*batch)
    finished = pipeline.finalize()
    assert not finished.training
    torch.testing.assert_close(finished(*batch), shown)
    report = pipeline.report()
    assert report["conv.weight"].form == JOINT[names]
    quantizes = any("activations" in row.kind and row.status == "compressed" for row in report.values())
    package = convert(finished, batch, minimum_deployment_target="iOS18")
    verify(package, finished, batch)
    ops = {op.op_type for op in package._mil_program.functions["main"].operations}
    assert ("quantize" in ops) == quantizes


@pytest.mark.parametrize(
    "names", [("prune", "qat"), ("prune", "learned"), ("prune", "dkm", "activations")], ids=", ".join
)
@pytest.mark.parametrize("stop", range(4))
def test_a_run_that_is_resumed_at_any_step_gives_the_same_bits(names, stop):
    _assert_resumes([STAGES[name] for name in names], stop)


def _assert_resumes(stages, stop):
    def started():
        pipeline = Pipeline(stages)
        model = ResidualNetwork()
        return pipeline, pipeline.prepare(model, model.batches()[0])

    whole, model = started()
    trained([whole], model, range(4))
    first, model = started()
    trained([first], model, range(stop))
    saved = saved_and_loaded({"model": model.state_dict(), "pipeline": first.state_dict()})
    second, model = started()
    model.load_state_dict(saved["model"])
    second.load_state_dict(saved["pipeline"])
    trained([second], model, range(stop, 4))
    assert not different_tensors(whole.finalize(), second.finalize())


@pytest.mark.parametrize("other", [MagnitudePruner, DKMPalettizer], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(("prepared_first", "finished_first"), list(itertools.product([0, 1], [0, 1])))
def test_two_compressors_of_one_model_in_any_order(other, prepared_first, finished_first):
    model = ResidualNetwork()
    batch = model.batches()[0]
    config = {"target_sparsity": 0.5} if other is MagnitudePruner else TWO_BITS
    weights = {} if other is MagnitudePruner else {"weight_dtype": "float32"}
    both = [None, None]
    for place in (prepared_first, 1 - prepared_first):
        if place == 0:
            both[0] = LinearQuantizer(model, {"global_config": weights})
            model = both[0].prepare(batch, inplace=True)
        else:
            both[1] = other(model, {"global_config": config})
            model = both[1].prepare(inplace=True)
    trained(both, model)
    shown = model.eval()(*batch)
    for place in (finished_first, 1 - finished_first):
        model = both[place].finalize(model, inplace=True)
    torch.testing.assert_close(model.eval()(*batch), shown)
    package = convert(model, batch, minimum_deployment_target="iOS18")
    verify(package, model, batch)
    if other is MagnitudePruner:
        assert model.conv.state_dict()["_COREML_/weight/compression_type"].tolist() == [1, 3]
        assert int((model.conv.weight == 0).sum()) == model.conv.weight.numel() // 2


def test_a_table_under_a_scale_is_not_trained_by_a_later_stage():
    scaled = Stage("dkm", {"global_config": {**TWO_BITS, "enable_per_channel_scale": True}})
    model = ResidualNetwork()
    with pytest.raises(
        PlanError, match=r"stem\.weight: stage 2 \(linear_qat\) would train the look-up table of stage 1"
    ):
        Pipeline([scaled, STAGES["qat"]]).prepare(model, model.batches()[0])
    assert not model._forward_pre_hooks


@pytest.mark.parametrize("first", [DKMPalettizer, LinearQuantizer], ids=lambda cls: cls.__name__)
def test_two_runs_do_not_train_palette_and_integers_of_one_weight(first):
    model = ResidualNetwork()
    batch = model.batches()[0]
    both = [
        DKMPalettizer(model, {"global_config": TWO_BITS}),
        LinearQuantizer(model, {"global_config": {"weight_dtype": "int4"}}),
    ]
    both.sort(key=lambda each: not isinstance(each, first))
    both[0].prepare(batch, inplace=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(PlanError, match=r"stem\.weight: another run trains it already; .* put both stages into one"):
        both[1].prepare(batch, inplace=True)
    assert before.keys() == model.state_dict().keys()
    model(*batch)
    both[0].finalize(inplace=True)


PRUNINGS = {"dense": None, "pruned": {"target_sparsity": 0.5}, "n:m": {"n_m_ratio": (2, 4)}}
PALETTES = {
    "no palette": None,
    "tables": TWO_BITS,
    "groups": {**TWO_BITS, "granularity": "per_grouped_channel", "group_size": 4},
    "vectors": {**TWO_BITS, "cluster_dim": 2},
    "extra zero": {**TWO_BITS, "add_extra_centroid": True},
    "hard": {**TWO_BITS, "palett_mode": "hard"},
}
ROUNDINGS = {
    "float": None,
    "int8": {},
    "int4 per tensor": {"weight_dtype": "int4", "weight_per_channel": False},
    "affine": {"weight_dtype": "uint8", "quantization_scheme": "affine", "fold_batch_norm": False},
    "learned": {"algorithm": "learnable", "weight_dtype": "int4"},
    "later": {"weight_dtype": "int4", "milestones": (0, 2, 3, 2)},
}


def _stages(pruning, palette, rounding):
    chosen = (("magnitude", PRUNINGS[pruning]), ("dkm", PALETTES[palette]), ("linear_qat", ROUNDINGS[rounding]))
    return [Stage(name, {"global_config": options}) for name, options in chosen if options is not None]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("pruning", PRUNINGS)
def test_what_is_shown_is_what_is_stored(pruning, palette, rounding):
    stages = _stages(pruning, palette, rounding)
    model = ResidualNetwork()
    batch = model.batches()[0]
    if pruning != "dense" and palette == "vectors":
        with pytest.raises(PlanError, match="single zeros"):
            Pipeline(stages).prepare(model, batch)
        return
    if not stages:
        return
    run = Pipeline(stages[::-1]).begin(model, batch)
    trained([run], run.model)
    shown = run.model.eval()(*batch)
    finished = run.finalize()
    torch.testing.assert_close(finished(*batch), shown)
    for weight in torch_weights(finished):
        encoding = weight.encoding()
        torch.testing.assert_close(encoding.decode(), weight.read(), rtol=0, atol=0)
        if weight.name not in ("conv.weight", "mixed.weight", "gate.weight"):
            continue
        form = encoding.form.describe()
        assert ("sparse" in form) == (pruning != "dense")
        assert ("palette" in form) == (palette != "no palette")
        assert ("int" in form) == (rounding != "float")


def test_learned_scales_of_a_table_get_gradients_and_are_trained():
    model = ResidualNetwork()
    run = Pipeline([STAGES["dkm"], STAGES["learned"]]).begin(model, model.batches()[0])
    scales = [parameter for parameter in run.parameters() if parameter.requires_grad]
    before = [scale.detach().clone() for scale in scales]
    trained([run], run.model)
    assert scales
    assert all(not torch.equal(scale, old) for scale, old in zip(scales, before, strict=True))


@pytest.mark.parametrize("stop", range(4))
def test_a_nested_run_that_is_resumed_at_any_step_gives_the_same_bits(stop):
    _assert_resumes([STAGES["prune"], STAGES["dkm"], STAGES["learned"]], stop)


def test_two_stages_do_not_quantize_one_activation():
    pipeline = Pipeline([STAGES["dkm activations"], STAGES["activations"]])
    model = ResidualNetwork()
    with pytest.raises(PlanError, match=r"stem:conv2d: stage 1 \(dkm\) and stage 2 \(linear_qat\) both quantize"):
        pipeline.prepare(model, model.batches()[0])


def test_activations_of_dkm_need_a_training_loop():
    model = ResidualNetwork()
    with pytest.raises(PlanError, match=r"activations are quantized in training only; use prepare, step and finalize"):
        Pipeline([STAGES["dkm activations"]]).compress(model)


def test_a_table_that_is_made_when_training_is_over_cannot_be_trained():
    stages = [Stage("kmeans", {"global_config": {"n_bits": 4}}), Stage("linear_qat")]
    network = nn.Sequential(nn.Linear(64, 64))
    with pytest.raises(
        PlanError, match=r"stage 2 \(linear_qat\) would train the look-up table that stage 1 \(kmeans\)"
    ):
        Pipeline(stages).prepare(network, example_inputs=torch.ones(1, 64))
    assert type(network[0]) is nn.Linear
    Pipeline(stages[::-1]).prepare(network, example_inputs=torch.ones(1, 64))


def test_activations_are_quantized_when_the_weights_are_trained():
    stages = [
        Stage("magnitude", {"global_config": {"scheduler": {"update_steps": [0, 1]}, "target_sparsity": 0.5}}),
        Stage("activation"),
    ]
    pipeline, inputs = Pipeline(stages), torch.randn(4, 64)
    prepared = pipeline.prepare(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)), example_inputs=inputs)
    for _ in range(3):
        prepared(inputs).sum().backward()
        pipeline.step()
    finished = pipeline.finalize(data=[inputs])
    package = convert(finished, inputs)
    outcome = verify(package, finished, inputs)
    assert all(row.equal and row.stored_as == "50% sparse" for row in outcome.weights)
    assert "quantize" in {op.op_type for op in package._mil_program.functions["main"].operations}
