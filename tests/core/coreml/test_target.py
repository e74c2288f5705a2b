import json
import re
import shutil
import warnings

import numpy as np
import pytest
import torch
from google.protobuf.json_format import MessageToDict
from tests.core.coreml import programs
from tests.networks.images import SmallConvNet
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import CoreMLTarget, convert, inspect, read_weights, run, save
from corepress.coreml import target as target_module
from corepress.coreml._coremltools import ct, mb, types
from corepress.errors import ConfigError, ExportError, PlanError, PlanWarning, WeightError
from corepress.targets import open_target

KMEANS = {"global_config": {"n_bits": 4}}
PRUNED = {"global_config": {"target_sparsity": 0.75}}


def compress(model, *stages, **options):
    return Pipeline([Stage(name, config) for name, config in stages]).compress(model, **options)


def stored(model):
    return {weight.name: weight.encoding for weight in read_weights(model)}


def op_types(model):
    return {weight.name: weight.ops for weight in read_weights(model) if len(weight.shape) > 1}


@pytest.fixture(scope="module")
def mlmodel():
    return programs.layers()


@pytest.fixture(scope="module")
def path(mlmodel, tmp_path_factory):
    path = tmp_path_factory.mktemp("packages") / "layers.mlpackage"
    mlmodel.save(str(path))
    return path


def test_every_layer_of_a_program_is_compressed(mlmodel):
    small = compress(mlmodel, ("kmeans", KMEANS))
    ops = op_types(small)
    assert {name for name, chain in ops.items() if chain == ("constexpr_lut_to_dense",)} == {
        "conv_w", "depth_w", "up_w", "linear_w", "y_w", "ty_w", "x_w", "tx_w",
    }  # fmt: skip
    assert ops["add_w"] == ("const",)


def test_a_path_will_do_and_the_package_is_not_touched(path, mlmodel):
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert stored(compress(path, ("kmeans", KMEANS))) == stored(compress(mlmodel, ("kmeans", KMEANS)))
    assert stored(compress(str(path), ("kmeans", KMEANS))) == stored(compress(mlmodel, ("kmeans", KMEANS)))
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_a_compressed_program_is_the_same_after_it_was_saved(mlmodel, tmp_path):
    small = compress(mlmodel, ("magnitude", PRUNED), ("kmeans", KMEANS))
    small.save(str(tmp_path / "small.mlpackage"))
    assert stored(tmp_path / "small.mlpackage") == stored(small)
    x = {"x": np.random.default_rng(0).standard_normal((1, 8, 6, 6)).astype(np.float16)}
    (before,), (after,) = run(small, x).values(), run(tmp_path / "small.mlpackage", x).values()
    assert np.array_equal(before, after)


def test_only_the_compressed_constants_change(mlmodel):
    small = compress(mlmodel, ("kmeans", {"module_name_configs": {"linear_op": {}}}))
    before, after = _operations(mlmodel), _operations(small)
    assert after.pop("linear_w")[0] == "constexpr_lut_to_dense"
    before.pop("linear_w")
    assert {name: op for name, op in after.items() if not name.startswith("linear_w_")} == before
    assert _description(small) == _description(mlmodel)


def _operations(model):
    function = model.get_spec().mlProgram.functions["main"]
    (block,) = function.block_specializations.values()
    return {
        op.outputs[0].name: (
            op.type,
            {key: [a.name for a in given.arguments] for key, given in op.inputs.items()},
            str(op.outputs[0].type),
        )
        for op in block.operations
    }


def _description(model):
    found = MessageToDict(model.get_spec().description)
    entries = found.pop("metadata")["userDefined"]
    return found, {key: value for key, value in entries.items() if not key.startswith("com.corepress.")}


def test_author_licence_and_descriptions_stay():
    model = programs.layers()
    model.author, model.license, model.short_description = "Ada", "MIT", "A network"
    model.input_description["x"] = "an image"
    model.user_defined_metadata["mine"] = "kept"
    small = compress(model, ("kmeans", KMEANS))
    assert (small.author, small.license, small.short_description) == ("Ada", "MIT", "A network")
    assert small.input_description["x"] == "an image"
    assert small.user_defined_metadata["mine"] == "kept"


def test_the_package_says_what_made_it(mlmodel):
    once = compress(mlmodel, ("magnitude", PRUNED))
    twice = compress(once, ("kmeans", KMEANS))
    recipe = inspect(twice).made_by["recipe"]
    assert [line for line in recipe.splitlines() if "algorithm" in line] == [
        "- algorithm: magnitude",
        "- algorithm: kmeans",
    ]


@pytest.mark.parametrize(
    "stages",
    [
        [("magnitude", PRUNED), ("kmeans", KMEANS)],
        [("kmeans", KMEANS), ("magnitude", PRUNED)],
        [("magnitude", PRUNED), ("kmeans", {"global_config": {"n_bits": 4, "lut_dtype": "int8"}})],
        [("magnitude", {"global_config": {"n_m_ratio": (2, 4)}}), ("kmeans", KMEANS), ("magnitude", PRUNED)],
    ],
)
def test_separate_runs_equal_one_run(mlmodel, stages):
    separate = mlmodel
    for stage in stages:
        separate = compress(separate, stage)
    assert stored(separate) == stored(compress(mlmodel, *stages))


def test_a_second_palettization_is_refused_before_any_work(mlmodel):
    small = compress(mlmodel, ("kmeans", KMEANS))
    with pytest.raises(PlanError, match=r"^conv_w: stage 1 \(kmeans\) cannot work: it is palettized already"):
        compress(small, ("kmeans", KMEANS))


def test_the_plan_is_the_report_before_the_work(mlmodel):
    pipeline = Pipeline([Stage("kmeans", KMEANS)])
    plan = pipeline.plan(mlmodel)
    pipeline.compress(mlmodel)
    report = pipeline.report()
    assert [(r.name, r.form, r.bytes_after) for r in plan.done] == [
        (r.name, r.form, r.bytes_after) for r in report.done
    ]
    assert plan["add_w"].reason == (
        "it is a constant of add, no layer's weight; give its name, its op type, or a weight_threshold"
    )


def test_results_do_not_depend_on_the_number_of_workers(mlmodel):
    vectors = {"global_config": {"n_bits": 2, "cluster_dim": 2}}
    assert stored(compress(mlmodel, ("kmeans", vectors), workers=1)) == stored(
        compress(mlmodel, ("kmeans", vectors), workers=4)
    )


# Which rule wins


def test_a_constant_name_wins_over_an_operation_name_over_a_type_over_the_default(mlmodel):
    config = {
        "global_config": {"n_bits": 8},
        "module_type_configs": {"matmul": {"n_bits": 4}, "conv": None},
        "module_name_configs": {"y_op": {"n_bits": 2}, "ty_op": {"n_bits": 2}, "ty_w": {"n_bits": 1}, "tx_w": None},
    }
    found = stored(compress(mlmodel, ("kmeans", config)))
    bits = {name: encoding.n_bits for name, encoding in found.items() if encoding.kind == "palettized"}
    assert bits == {"up_w": 8, "linear_w": 8, "x_w": 4, "y_w": 2, "ty_w": 1}


def test_an_addition_is_compressed_by_name_type_or_size(mlmodel):
    for config in (
        {"module_name_configs": {"add_op": {}}},
        {"module_type_configs": {"add": {}}},
        {"global_config": {"weight_threshold": 200}},
    ):
        assert op_types(compress(mlmodel, ("kmeans", config)))["add_w"] == ("constexpr_lut_to_dense",)


def test_the_threshold_is_strict(mlmodel):
    small = op_types(compress(mlmodel, ("kmeans", {"global_config": {"weight_threshold": 768}})))
    assert small["up_w"] == ("const",)  # 768 elements
    assert small["conv_w"] == ("constexpr_lut_to_dense",)  # 1152 elements


def test_an_unknown_name_is_an_error_with_a_suggestion(mlmodel):
    with pytest.raises(ConfigError) as caught:
        compress(mlmodel, ("kmeans", {"module_name_configs": {"linear_oops": {}}}))
    assert str(caught.value).endswith("did you mean 'linear_op'?")


def test_an_unknown_type_is_an_error_with_a_suggestion(mlmodel):
    with pytest.raises(ConfigError, match=r"did you mean 'conv_transpose'\?"):
        compress(mlmodel, ("kmeans", {"module_type_configs": {"conv_transpos": {}}}))


def test_a_tied_weight_is_compressed_once_where_its_rules_agree():
    small = compress(programs.tied(), ("kmeans", {"module_type_configs": {"gather": {}, "linear": {}}}))
    assert op_types(small) == {"shared": ("constexpr_lut_to_dense",), "shift": ("const",)}


def test_a_tied_weight_takes_the_more_specific_of_its_rules():
    small = compress(programs.tied(), ("kmeans", {"module_type_configs": {"linear": {"n_bits": 2}}}))
    assert stored(small)["shared"].n_bits == 2


def test_a_tied_weight_with_conflicting_rules_is_an_error():
    config = {"module_type_configs": {"gather": {"n_bits": 2}, "linear": {"n_bits": 4}}}
    with pytest.raises(ConfigError) as caught:
        compress(programs.tied(), ("kmeans", config))
    assert str(caught.value) == (
        "stage 1 (kmeans): 'embed' and 'head' share one weight, but module_type_configs['gather'] and "
        "module_type_configs['linear'] ask for different things; give both the same configuration"
    )


def test_a_constant_that_is_an_output_too_stays_one():
    small = compress(programs.tied(), ("kmeans", {"module_name_configs": {"shift": {"n_bits": 2}}}))
    assert op_types(small)["shift"] == ("constexpr_lut_to_dense",)
    x = {"x": np.arange(4, dtype=np.int32)}
    assert run(small, x).keys() == run(programs.tied(), x).keys()


# The recipe of a torch model


def test_a_recipe_for_a_torch_model_selects_the_same_weights_of_its_program():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 10)
    )
    model[1].running_var.uniform_(0.5, 2)
    recipe = {
        "global_config": {"n_bits": 4},
        "module_type_configs": {"Linear": {"n_bits": 6}},
        "module_name_configs": {"0": {"n_bits": 2}, r"[3]": {"n_bits": 3}},
    }
    package = convert(model.eval(), torch.rand(1, 3, 6, 6))
    found = stored(compress(package, ("kmeans", recipe)))
    bits = sorted((tuple(e.shape), e.n_bits) for e in found.values() if e.kind == "palettized")
    assert bits == [((8, 3, 3, 3), 2), ((8, 8, 3, 3), 3), ((10, 32), 6)]


def test_a_program_and_its_model_are_compressed_alike():
    model, x = SmallConvNet().eval(), torch.rand(1, 3, 32, 32)
    recipe = Pipeline([Stage("magnitude", PRUNED)])
    assert _kept(recipe.compress(convert(model, x))) == _kept(convert(recipe.compress(model), x))


def _kept(package):
    return sorted(e.kept for e in stored(package).values() if e.kind == "sparse")


# Deployment targets


def test_a_form_that_the_program_cannot_hold_is_refused_with_the_smallest_target():
    with pytest.raises(PlanError) as caught:
        compress(programs.layers("iOS16"), ("kmeans", {"module_name_configs": {"y_w": {"n_bits": 3}}}))
    assert str(caught.value) == (
        "y_w: 3-bit palette needs iOS18, but the program is for iOS16; pass "
        "minimum_deployment_target='iOS18' (--target iOS18), which raises the program, or use n_bits 4"
    )


@pytest.mark.parametrize("target", ["iOS16", "iOS17"])
def test_older_programs_get_the_operations_of_their_target(target):
    small = compress(programs.layers(target), ("kmeans", KMEANS))
    assert inspect(small).target == target
    assert op_types(small)["linear_w"] == ("constexpr_lut_to_dense",)


def test_a_program_for_ios15_is_raised_and_the_plan_says_so():
    model = programs.layers("iOS15", np.float32)
    with pytest.warns(PlanWarning, match=r"^the program is for iOS15; what is made of it needs iOS16$"):
        small = compress(model, ("kmeans", KMEANS))
    assert inspect(small).target == "iOS16"
    assert op_types(small)["linear_w"] == ("constexpr_lut_to_dense",)


def test_a_wanted_target_below_that_of_the_program_counts(mlmodel):
    with pytest.raises(PlanError, match=r"3-bit palette needs iOS18, but minimum_deployment_target is iOS16"):
        Pipeline([Stage("kmeans", {"global_config": {"n_bits": 3}})]).plan(mlmodel, minimum_deployment_target="iOS16")


# What is no program, and what cannot be done with one


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    with pytest.raises(ExportError) as caught:
        compress(tmp_path, ("kmeans", KMEANS))
    assert str(caught.value) == f"{tmp_path} is not an .mlpackage; give the folder that MLModel.save has written"


def test_a_truncated_weight_file_is_refused(path, tmp_path):
    broken = tmp_path / "broken.mlpackage"
    shutil.copytree(path, broken)
    (weights,) = broken.rglob("weight.bin")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ExportError, match=rf"^{re.escape(str(broken))} cannot be read, its weight file may be damaged"):
        compress(broken, ("kmeans", KMEANS))


def test_a_neural_network_is_refused():
    from coremltools.models.neural_network import NeuralNetworkBuilder

    builder = NeuralNetworkBuilder(
        [("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(3))], disable_rank5_shape_mapping=True
    )
    builder.add_activation("relu", "RELU", "x", "y")
    model = ct.models.MLModel(builder.spec, skip_model_load=True)
    with pytest.raises(ExportError) as caught:
        compress(model, ("kmeans", KMEANS))
    assert str(caught.value) == (
        "the model is of type neuralNetwork, not an ML program; convert it again with convert_to='mlprogram'"
    )


def test_what_is_no_model_is_refused():
    with pytest.raises(PlanError) as caught:
        compress(3, ("kmeans", KMEANS))
    assert str(caught.value) == (
        "expected a torch.nn.Module, an MLModel or the path of an .mlpackage, got int; "
        "compress a module before it is traced"
    )


def test_a_program_is_not_changed_in_place(mlmodel):
    with pytest.raises(PlanError) as caught:
        compress(mlmodel, ("kmeans", KMEANS), inplace=True)
    assert str(caught.value) == (
        "a Core ML program is not changed in place; leave inplace out, and save what is returned"
    )


def test_a_program_cannot_be_trained(mlmodel):
    with pytest.raises(PlanError) as caught:
        Pipeline([Stage("magnitude")]).prepare(mlmodel)
    assert str(caught.value) == "a Core ML program cannot be trained; prepare the torch model, or use compress()"


def test_a_layer_with_infinite_weights_is_refused_by_name():
    model = _with_weight(np.inf, layer=True)
    with pytest.raises(WeightError) as caught:
        compress(model, ("kmeans", KMEANS))
    assert str(caught.value) == "w: 1 of 400 values are NaN or infinite; repair the model first"


def test_a_mask_of_infinities_is_left_alone():
    config = {"global_config": {"weight_threshold": 10}}
    pipeline = Pipeline([Stage("kmeans", config)])
    with pytest.warns(PlanWarning):
        pipeline.compress(_with_weight(-np.inf, layer=False))
    assert pipeline.report()["mask"].reason == "kmeans: it holds infinite values, as masks do"


def _with_weight(value, *, layer):
    values = np.random.default_rng(0).standard_normal((20, 20)).astype(np.float16)
    broken = values.copy()
    broken[3, 4] = value

    @mb.program(input_specs=[mb.TensorSpec((4, 20), dtype=types.fp16)], opset_version=programs.opset("iOS18"))
    def program(x):
        x = mb.linear(x=x, weight=mb.const(val=broken if layer else values, name="w"))
        return x if layer else mb.add(x=x, y=mb.const(val=broken[:4] * (1 + 0 * broken[:4]), name="mask"))

    return programs.package(program, "iOS18")


def test_a_target_of_a_program_is_found_for_models_and_paths(mlmodel, path):
    assert isinstance(open_target(mlmodel), CoreMLTarget)
    assert isinstance(open_target(path), CoreMLTarget)


def test_classifiers_and_their_labels_stay():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3), nn.Softmax(1)).eval()
    package = convert(
        model,
        torch.rand(1, 3, 4, 4),
        classifier_config=ct.ClassifierConfig(["ant", "bee", "cat"]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = compress(package, ("kmeans", KMEANS))
    assert _description(small) == _description(package)
    x = {package.get_spec().description.input[0].name: torch.rand(1, 3, 4, 4).numpy()}
    assert run(small, x)["classLabel"] in ("ant", "bee", "cat")


def test_states_stay():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("total", torch.zeros(1, 16))
            self.linear = nn.Linear(16, 16)

        def forward(self, x):
            self.total.add_(self.linear(x))
            return self.total * 1

    state = ct.StateType(wrapped_type=ct.TensorType(shape=(1, 16), dtype=np.float16), name="total")
    package = convert(Counter().eval(), torch.rand(1, 16), states=[state])
    small = compress(package, ("kmeans", KMEANS))
    assert _description(small) == _description(package)
    assert json.dumps([s.name for s in small.get_spec().description.state]) == '["total"]'


# Activations


def test_activations_are_reached_by_the_names_and_types_of_torch():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 10))
    package = convert(model.eval(), torch.rand(1, 3, 6, 6))
    config = {"module_type_configs": {"Conv2d": {}, "linear": {}}, "module_name_configs": {"2": None}}
    plan = Pipeline([Stage("activation", config)]).plan(package)
    assert [row.kind for row in plan.done] == ["conv activations", "linear activations"]


def test_an_operation_of_infinite_values_is_left_alone_and_the_report_says_so():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x, mask):
            return torch.softmax(self.linear(x) + mask, -1)

    mask = torch.zeros(4, 8)
    mask[:, 5:] = -torch.inf
    package = convert(Masked().eval(), (torch.rand(4, 8), mask), compute_precision=ct.precision.FLOAT32)
    names = [feature.name for feature in package.get_spec().description.input]
    pipeline = Pipeline([Stage("activation")])
    with pytest.warns(PlanWarning, match=r"what it reads or computes has no finite range$"):
        pipeline.compress(package, data=[dict(zip(names, (torch.rand(4, 8), mask), strict=True))])
    kinds = {row.kind: row.status for row in pipeline.report().rows if row.kind.endswith("activations")}
    assert kinds == {"linear activations": "compressed", "add activations": "skipped"}


def test_activations_need_samples(mlmodel):
    with pytest.raises(PlanError) as caught:
        compress(mlmodel, ("activation", {}))
    assert str(caught.value) == "stage 1 (activation) needs calibration data; pass data=<iterable of batches>"


def test_a_program_for_ios16_is_raised_to_ios17_for_its_activations():
    package = convert(nn.Sequential(nn.Linear(16, 16)).eval(), torch.rand(1, 16), minimum_deployment_target="iOS16")
    (name,) = (feature.name for feature in package.get_spec().description.input)
    with pytest.warns(PlanWarning, match=r"^the program is for iOS16; what is made of it needs iOS17$"):
        small = compress(package, ("rtn", {}), ("activation", {}), data=[{name: torch.rand(1, 16)}])
    assert inspect(small).target == "iOS17"


# One load, one save, nothing left behind


def test_a_pipeline_loads_once_and_saves_once(path, monkeypatch):
    calls = []
    for name in ("raised", "write_program"):
        real = getattr(target_module, name)
        monkeypatch.setattr(target_module, name, lambda *a, n=name, f=real, **k: (calls.append(n), f(*a, **k))[1])
    compress(path, ("magnitude", PRUNED), ("kmeans", KMEANS), ("rtn", {}))
    assert calls == ["raised", "write_program"]


def test_saving_replaces_a_package_whole_or_not_at_all(mlmodel, tmp_path, monkeypatch):
    out = tmp_path / "out.mlpackage"
    save(mlmodel, out)
    small = compress(mlmodel, ("kmeans", KMEANS))
    monkeypatch.setattr(small, "save", lambda path: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(ExportError) as caught:
        save(small, out)
    assert str(caught.value) == f"{out} cannot be written: the disk is full; it is what it was before"
    assert stored(out) == stored(mlmodel)
    monkeypatch.undo()
    save(small, out)
    assert stored(out) == stored(small)
    assert list(tmp_path.iterdir()) == [out]


def test_saving_refuses_what_is_no_package(mlmodel, tmp_path):
    file = tmp_path / "file.mlpackage"
    file.write_text("precious")
    for path, message in (
        (tmp_path / "out", f"{tmp_path / 'out'}: the name of a package ends in .mlpackage"),
        (file, f"{file} is a file, and no package that can be replaced; remove it first"),
        (tmp_path / "no" / "out.mlpackage", f"{tmp_path / 'no' / 'out.mlpackage'}: there is no folder"),
    ):
        with pytest.raises(ExportError, match=re.escape(message)):
            save(mlmodel, path)
    assert file.read_text() == "precious"


@pytest.mark.parametrize("length", [0, 200])
def test_a_truncated_program_is_refused(path, tmp_path, length):
    broken = tmp_path / "broken.mlpackage"
    shutil.copytree(path, broken)
    (program,) = broken.rglob("model.mlmodel")
    program.write_bytes(program.read_bytes()[:length])
    with pytest.raises(ExportError, match="may be damaged"):
        compress(broken, ("kmeans", KMEANS))


# Small weights, and programs without any


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
@pytest.mark.parametrize("size", [2e-3, 1e-5, 1e-6])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_small_weights_are_stored_as_planned(target, size, scheme):
    values = np.random.default_rng(0).standard_normal((32, 64)) * size
    values[3] *= 1e-3
    values[4] = 0

    @mb.program(input_specs=[mb.TensorSpec((4, 64), dtype=types.fp16)], opset_version=programs.opset(target))
    def program(x):
        return mb.linear(x=x, weight=mb.const(val=values.astype(np.float16), name="w"))

    pipeline = Pipeline([Stage("rtn", {"global_config": {"quantization_scheme": scheme}})])
    small = pipeline.compress(programs.package(program, target))
    (weight,) = (w for w in read_weights(small) if w.name == "w")
    assert weight.encoding.form.describe() == pipeline.report()["w"].form == "int8"
    steps = np.maximum(np.ptp(values, axis=1, keepdims=True) / 127, 2.0**-23)
    assert (np.abs(weight.value.numpy() - values.astype(np.float16)) <= steps).all()


def test_a_program_without_weights_is_left_as_it_is_with_a_warning():
    @mb.program(input_specs=[mb.TensorSpec((4, 16), dtype=types.fp16)], opset_version=programs.opset("iOS18"))
    def program(x):
        return mb.add(x=x, y=np.ones(16, np.float16))

    with pytest.warns(PlanWarning, match="^nothing is compressed"):
        small = compress(programs.package(program, "iOS18"), ("kmeans", KMEANS))
    assert [weight.ops for weight in read_weights(small)] == [("const",)]


def test_the_weights_of_recurrent_layers_are_compressed_and_their_states_are_not():
    model = nn.LSTM(24, 16, batch_first=True).eval()
    package = convert(model, torch.rand(2, 5, 24))
    weights = {w.kind: (w.output_axis, w.input_axis) for w in CoreMLTarget(package).weights()}
    assert weights == {"lstm": (0, 1)}
    small = compress(package, ("rtn", {}))
    kinds = sorted((tuple(e.shape), e.kind) for e in stored(small).values() if len(e.shape) == 2)
    assert kinds == [((2, 16), "dense"), ((2, 16), "dense"), ((64, 16), "affine"), ((64, 24), "affine")]
    x = {package.get_spec().description.input[0].name: torch.rand(2, 5, 24).numpy()}
    for before, after in zip(run(package, x).values(), run(small, x).values(), strict=True):
        assert np.abs(before - after).max() < 0.02


def test_a_bias_by_its_name_has_no_compressible_weight():
    package = convert(nn.Sequential(nn.Linear(16, 16)).eval(), torch.rand(1, 16))
    bias = next(name for name, (shape, _) in CoreMLTarget(package).others().items() if shape == (16,))
    with pytest.raises(ConfigError, match=f"'{bias}' has no compressible weight; remove the rule, or set it to null"):
        compress(package, ("kmeans", {"module_name_configs": {bias: {}}}))


@pytest.mark.parametrize("target", ["iOS16", "iOS18"])
def test_values_found_in_three_bits_are_stored_in_what_the_target_has(target):
    values = np.random.default_rng(0).integers(0, 7, (32, 64)).astype(np.float16) / 8

    @mb.program(input_specs=[mb.TensorSpec((4, 64), dtype=types.fp16)], opset_version=programs.opset(target))
    def program(x):
        return mb.linear(x=x, weight=mb.const(val=values, name="w"))

    small = compress(programs.package(program, target), ("unique", {}))
    assert stored(small)["w"].n_bits == (4 if target == "iOS16" else 3)
    assert np.array_equal(stored(small)["w"].decode(), values.astype(np.float32))


@pytest.mark.parametrize("first", ["magnitude", "rtn"])
def test_a_joint_form_is_refused_by_the_plan_even_where_its_size_is_unknown(first):
    pipeline = Pipeline([Stage(first), Stage("unique")])
    # One message for all weights of a form.
    with pytest.raises(PlanError, match=r"^\d weights \(conv_w, .*, \.\.\.\): .* needs iOS18, but .*; pass minimum"):
        pipeline.plan(programs.layers("iOS16"))


class TiedHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(64, 64), nn.Linear(64, 64, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x):
        return self.head(torch.relu(self.words(x)))


@pytest.mark.parametrize("other", [None, {"n_bits": 2}])
def test_rules_about_the_modules_that_share_a_weight_must_agree(other):
    package = convert(TiedHead(), torch.zeros(1, 8, dtype=torch.int32))
    for model in (TiedHead(), package):
        apart = Stage("kmeans", {"module_name_configs": {"words": other, "head": {"n_bits": 3}}})
        with pytest.raises(ConfigError, match=r"'words.weight' and 'head.weight' share one weight"):
            Pipeline([apart]).plan(model)
        alike = Stage("kmeans", {"module_name_configs": {"words": {"n_bits": 3}, "head": {"n_bits": 3}}})
        assert [row.form for row in Pipeline([alike]).plan(model).done] == ["3-bit palette"]
