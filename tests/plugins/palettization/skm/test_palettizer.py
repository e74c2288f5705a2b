"""`SKMPalettizer` from the data to the palettized model."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.encoding import Sparse
from corepress.errors import PlanError, PlanWarning, WeightError
from corepress.targets import torch_weights
from corepress.testing.networks import ConvolutionalNetwork
from corepress.testing.randomness import global_random_state
from corepress.testing.snapshot import Snapshot, different_tensors
from corepress_plugins.palettization import SKMPalettizer
from corepress_plugins.pruning import MagnitudePruner

CONFIG = {"global_config": {"n_bits": 2}}


@pytest.fixture
def model():
    return ConvolutionalNetwork()


@pytest.fixture
def data(model):
    return [images for (images,) in model.batches()]


def loss_fn(model, batch):
    return (model(batch) - 1).square().mean()


def refusal(function, *arguments, error=PlanError, **options):
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_sensitivities_are_computed_for_every_weight_by_name(model, data):
    found = SKMPalettizer(model).compute_sensitivity(data, loss_fn)
    assert {name: value.shape for name, value in found.items()} == {
        weight.name: weight.parameter.shape for weight in torch_weights(model)
    }
    squares = []
    for batch in data:
        (gradient,) = torch.autograd.grad(loss_fn(model, batch), [model.hidden.weight])
        squares.append(gradient.square())
    total = sum(squares)
    kept = total > 0
    torch.testing.assert_close(found["hidden.weight"][kept], (total / total.max())[kept].clamp_min(1e-12))
    assert all(value.max() == 1 and value.min() > 0 for value in found.values())


def test_the_model_is_left_exactly_as_it_was(model, data):
    model.train()
    model.hidden.weight.requires_grad_(False)
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    gradient, before, drawn = model.stem.weight.grad, Snapshot.of(model), global_random_state()
    palettizer = SKMPalettizer(model, CONFIG)
    palettizer.compute_sensitivity(data, loss_fn)
    palettizer.compress(data, loss_fn)
    assert before.differences() == []
    assert model.stem.weight.grad is gradient
    assert global_random_state() == drawn


def test_a_file_is_written_and_gives_the_same_model(model, data, tmp_path):
    path = tmp_path / "sensitivity.safetensors"
    computed = SKMPalettizer(model, CONFIG).compress(data, loss_fn)
    written = SKMPalettizer(model, CONFIG).compress(data, loss_fn, path)
    assert path.is_file()
    palettizer = SKMPalettizer(model, CONFIG)
    read = palettizer.compress(sensitivity_path=str(path))
    assert different_tensors(computed, written) == different_tensors(computed, read) == []
    assert palettizer.report()["hidden.weight"].status == "compressed"
    assert palettizer.config.global_config.sensitivity_path is None


def test_computed_sensitivities_are_written_anew(model, data, tmp_path):
    path = tmp_path / "sensitivity.safetensors"
    path.write_text("old")
    found = SKMPalettizer(model).compute_sensitivity(data, loss_fn, path)
    again = load_file(path)
    assert found.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in found.items())


def test_the_options_of_a_layer_stay_its_own_when_a_file_is_read(model, data, tmp_path):
    config = {"global_config": {"n_bits": 2}, "module_name_configs": {"hidden": {"n_bits": 1}, "stem": None}}
    small = SKMPalettizer(model, config).compress(data, loss_fn, tmp_path / "sensitivity")
    assert small.hidden.weight.unique().numel() == 2
    assert small.classifier.weight.unique().numel() == 4
    assert torch.equal(small.stem.weight, model.stem.weight)


def test_single_samples_may_count(model, data):
    by_batch = SKMPalettizer(model).compute_sensitivity(data, loss_fn)
    by_sample = SKMPalettizer(model, {"global_config": {"per_sample": True}}).compute_sensitivity(data, loss_fn)
    assert not torch.equal(by_batch["hidden.weight"], by_sample["hidden.weight"])
    alone = [image[None] for batch in data for image in batch]
    torch.testing.assert_close(
        by_sample["hidden.weight"],
        SKMPalettizer(model).compute_sensitivity(alone, loss_fn)["hidden.weight"],
        rtol=1e-3,
        atol=1e-7,
    )


def test_frozen_weights_have_a_sensitivity_too(model, data):
    wanted = SKMPalettizer(model).compute_sensitivity(data, loss_fn)
    model.requires_grad_(False)
    found = SKMPalettizer(model).compute_sensitivity(data, loss_fn)
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def test_unused_weights_count_equally_and_are_told(model, data):
    model.unused = nn.Linear(4, 4)
    with pytest.warns(PlanWarning, match=r"the loss does not depend on 1 of 6 weights: unused\.weight;"):
        found = SKMPalettizer(model).compute_sensitivity(data, loss_fn)
    assert found["unused.weight"].eq(1).all()


def test_batches_are_read_as_far_as_asked(model, data):
    palettizer = SKMPalettizer(model, {"calibration_nsamples": 2, **CONFIG})
    found = palettizer.compute_sensitivity(data, loss_fn)
    wanted = SKMPalettizer(model).compute_sensitivity(data[:2], loss_fn)
    assert torch.equal(found["stem.weight"], wanted["stem.weight"])


def test_fewer_batches_than_asked_for_are_all_read_with_a_warning(model, data):
    palettizer = SKMPalettizer(model, {"calibration_nsamples": len(data) + 3, **CONFIG})
    wanted = SKMPalettizer(model).compute_sensitivity(data, loss_fn)
    asked = rf"^the calibration data ended after {len(data)} of the {len(data) + 3} batches "
    with pytest.warns(PlanWarning, match=asked):
        found = palettizer.compute_sensitivity(data, loss_fn)
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())
    with pytest.warns(PlanWarning, match=asked):
        compressed = palettizer.compress(data, loss_fn)
    assert different_tensors(compressed, SKMPalettizer(model, CONFIG).compress(data, loss_fn)) == []


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("data", "loss", "text"),
    [
        (None, loss_fn, "stage 1 (skm) needs calibration data; pass data=<iterable of batches>"),
        ([], loss_fn, "the calibration data is empty; pass an iterable of at least one batch"),
        (iter(()), loss_fn, "the calibration data is empty; pass an iterable of at least one batch"),
        ([torch.ones(1, 3, 8, 8)], None, "stage 1 (skm) needs a loss; pass loss_fn=lambda model, batch: ..."),
        (
            [torch.ones(1, 3, 8, 8)],
            lambda model, batch: loss_fn(model, batch).detach(),
            "loss_fn must return a tensor of one value that depends on the weights to compress, not",
        ),
        ([torch.full((1, 3, 8, 8), torch.nan)] * 5, loss_fn, "432 of 432 sensitivities are negative, NaN or infinite"),
    ],
)
def test_bad_data_are_refused_before_the_model_changes(model, data, loss, text, inplace):
    before = Snapshot.of(model)
    palettizer = SKMPalettizer(model, {"calibration_nsamples": 5, **CONFIG})
    if data and loss is not None:
        data = list(data) * 5
    with pytest.raises((PlanError, WeightError)) as caught:
        palettizer.compress(data, loss, inplace=inplace)
    assert text in str(caught.value)
    assert before.differences() == []


def test_sensitivities_need_data_and_a_loss(model, data):
    palettizer = SKMPalettizer(model)
    assert refusal(palettizer.compute_sensitivity, None, loss_fn) == (
        "sensitivities need calibration data and a loss; pass dataloader=<iterable of batches>"
    )
    assert refusal(palettizer.compute_sensitivity, data) == (
        "sensitivities need calibration data and a loss; pass loss_fn=lambda model, batch: ..."
    )


def test_a_path_without_a_folder_is_refused_before_any_work(model, tmp_path):
    path = tmp_path / "none" / "s.safetensors"
    assert refusal(SKMPalettizer(model).compute_sensitivity, [], loss_fn, path) == (
        f"sensitivity_path {path}: there is no folder {str(path.parent)!r}; make it first"
    )


def test_a_file_that_does_not_exist_is_written_only_from_data(model, data, tmp_path):
    path = str(tmp_path / "s.safetensors")
    palettizer = SKMPalettizer(model, CONFIG)
    assert refusal(palettizer.compress, sensitivity_path=path) == (
        f"sensitivity_path {path!r}: there is no such file; "
        "pass dataloader and loss_fn, too, to compute the sensitivities and write them there"
    )
    assert refusal(palettizer.compress, data, sensitivity_path=path) == (
        "sensitivities need calibration data and a loss; pass loss_fn=lambda model, batch: ..."
    )
    reading = SKMPalettizer(model, {"global_config": {"n_bits": 2, "sensitivity_path": path}})
    assert refusal(reading.compress) == (
        f"sensitivity_path {path!r}: there is no such file; compute it anew with SKMPalettizer.compute_sensitivity"
    )
    assert not any(tmp_path.iterdir())


def test_bad_data_leave_no_file(model, tmp_path):
    data = [torch.full((1, 3, 8, 8), torch.nan)]
    with pytest.raises(WeightError):
        SKMPalettizer(model, CONFIG).compress(data, loss_fn, tmp_path / "s.safetensors")
    assert not any(tmp_path.iterdir())


def test_a_file_of_another_model_is_refused(model, tmp_path):
    path = str(tmp_path / "s.safetensors")
    before = Snapshot.of(model)
    whole = {weight.name: torch.ones(weight.shape) for weight in torch_weights(model)}
    save_file({("stem.weights" if key == "stem.weight" else key): value for key, value in whole.items()}, path)
    compress = SKMPalettizer(model, CONFIG).compress
    anew = "compute it anew with SKMPalettizer.compute_sensitivity"
    with pytest.warns(PlanWarning) as warned:
        small = compress(sensitivity_path=path)
    assert torch.equal(small.stem.weight, model.stem.weight)
    assert f"skm: sensitivity_path {path!r} holds no sensitivity of it; did you mean 'stem.weights'?" in str(
        warned[0].message
    )
    save_file({**whole, "hidden.weight": torch.ones(2, 2)}, path)
    assert refusal(compress, sensitivity_path=path) == (
        f"sensitivity_path {path!r}: the sensitivity of hidden.weight has the shape (2, 2), the weight (16, 8); {anew}"
    )
    save_file({**whole, "hidden.weight": torch.full((16, 8), torch.nan)}, path)
    assert refusal(compress, sensitivity_path=path, inplace=True, error=WeightError).startswith(
        "hidden.weight: 128 of 128 sensitivities are negative, NaN or infinite"
    )
    (tmp_path / "s.safetensors").write_text("nothing of the kind")
    assert refusal(compress, sensitivity_path=path).startswith(f"sensitivity_path {path!r} is no safetensors file (")
    assert before.differences() == []


@pytest.mark.parametrize("options", [{}, {"lut_dtype": "int8"}, {"enable_per_channel_scale": True}], ids=str)
def test_pruned_weights_keep_their_zeros_and_run_on_core_ml(model, data, options):
    pruned = MagnitudePruner(model, {"global_config": {"target_sparsity": 0.5, "weight_threshold": 0}}).compress()
    small = SKMPalettizer(pruned, {"global_config": {"n_bits": 2, **options}}).compress(data, loss_fn)
    for before, after in zip(torch_weights(pruned), torch_weights(small), strict=True):
        assert isinstance(after.encoding(), Sparse)
        assert not after.read()[before.read() == 0].any()
    mlmodel = coreml.convert(small.eval(), data[0], minimum_deployment_target="iOS18")
    coreml.verify(mlmodel, small, data[0])


def test_stages_of_a_pipeline_share_the_data(model, data):
    pipeline = Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.5}}), Stage("skm", CONFIG)])
    small = pipeline.compress(model, data=data, loss_fn=loss_fn)
    assert pipeline.report()["hidden.weight"].steps == ("magnitude", "skm")
    assert small.hidden.weight.unique().numel() <= 5


def test_every_entry_of_a_list_reads_the_file(model, data, tmp_path):
    config = {"global_config": [{"n_bits": 2}, {"n_bits": 4, "per_sample": True, "weight_threshold": 200}]}
    path = tmp_path / "sensitivity.safetensors"
    sensitivity = SKMPalettizer(model, config).compute_sensitivity(data, loss_fn, path)
    single = SKMPalettizer(model, CONFIG).compute_sensitivity(data, loss_fn, per_sample=True)
    assert all(torch.equal(sensitivity[name], single[name]) for name in single)
    small = SKMPalettizer(model, config).compress(sensitivity_path=path)
    assert {w.encoding().n_bits for w in torch_weights(small)} == {2, 4}
    assert all(w.encoding().n_bits == (4 if w.facts.count > 200 else 2) for w in torch_weights(small))


def test_weights_that_a_forward_pass_writes_to_stay_as_they_were():
    model = nn.Sequential(nn.Embedding(16, 8, max_norm=0.1), nn.Flatten(), nn.Linear(16, 4))
    before = Snapshot.of(model)
    SKMPalettizer(model).compute_sensitivity([torch.arange(16).view(8, 2)], loss_fn)
    assert before.differences() == []
