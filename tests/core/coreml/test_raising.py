"""Programs for older systems are raised to newer ones, and compute the same."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.networks.images import SmallConvNet
from torch import nn

from corepress import Pipeline, Stage
from corepress.cli.main import main
from corepress.coreml import convert, inspect, raising, run
from corepress.coreml._coremltools import ct, mb
from corepress.coreml.program import replace_value
from corepress.coreml.read import program_weights
from corepress.coreml.target import CoreMLTarget
from corepress.errors import ExportError, PlanError, PlanWarning
from corepress.targets.deployment import DeploymentTarget

BLOCKS = {"global_config": {"weight_dtype": "int4", "granularity": "per_block", "block_size": 4}}


class Text(nn.Module):
    """Operations whose versions changed between systems: gather, layer norm, softmax, resizing, attention."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(32, 16)
        self.mix = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.memory = nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, 8)

    def forward(self, tokens):
        x = self.words(tokens)
        x = self.norm(x + self.mix(x, x, x, need_weights=False)[0])
        x, _ = self.memory(x)
        x = nn.functional.interpolate(x.transpose(1, 2), scale_factor=2, mode="nearest").transpose(1, 2)
        return torch.softmax(self.out(x), -1), x.topk(3, dim=-1).indices


CASES = {
    "images": lambda: (SmallConvNet().eval(), torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))),
    "text": lambda: (Text().eval(), torch.arange(6, dtype=torch.int32)[None] % 5),
}


@pytest.mark.parametrize("old", ["iOS15", "iOS16", "iOS17"])
@pytest.mark.parametrize("case", CASES)
def test_a_raised_program_computes_what_it_computed(case, old):
    network, example = CASES[case]()
    package = convert(network, (example,), minimum_deployment_target=old)
    inputs = {package.get_spec().description.input[0].name: example.numpy()}
    raised = CoreMLTarget(package, deployment=DeploymentTarget.iOS18).result()
    assert raised.get_spec().specificationVersion == 9
    for before, after in zip(run(package, inputs).values(), run(raised, inputs).values(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.filterwarnings("ignore:.*weights were skipped", "ignore:.*the program is for")
@pytest.mark.parametrize("case", CASES)
def test_a_program_for_an_older_system_takes_what_only_a_newer_one_stores(case):
    network, example = CASES[case]()
    package = convert(network, (example,), minimum_deployment_target="iOS16")
    pipeline = Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.5}}), Stage("rtn", BLOCKS)])
    with pytest.raises(PlanError, match=r"needs iOS18, but the program is for iOS16; pass minimum_deploym"):
        pipeline.compress(package)
    small = pipeline.compress(package, minimum_deployment_target="iOS18")
    assert any("sparse, int4 in blocks" in row.form for row in pipeline.report().rows)
    inputs = {package.get_spec().description.input[0].name: example.numpy()}
    assert all(np.isfinite(value).all() for value in run(small, inputs).values())


def test_a_program_that_is_compressed_already_is_raised_only_when_its_operations_are_still_there():
    network, example = CASES["images"]()
    package = convert(network, (example,), minimum_deployment_target="iOS16")
    small = Pipeline([Stage("kmeans", {"global_config": {"n_bits": 4}})]).compress(package)
    with pytest.raises(PlanError, match=r"is for iOS16 and cannot be raised to iOS18: .*decompressed first"):
        Pipeline([Stage("rtn", BLOCKS)]).compress(small, minimum_deployment_target="iOS18")


def test_the_command_line_raises_a_package(tmp_path):
    network, example = CASES["images"]()
    convert(network, (example,), minimum_deployment_target="iOS16").save(str(tmp_path / "old.mlpackage"))
    (tmp_path / "recipe.yaml").write_text("stages:\n  - algorithm: kmeans\n    config: {global_config: {n_bits: 3}}\n")
    command = ["compress", str(tmp_path / "recipe.yaml"), str(tmp_path / "old.mlpackage"), "-o"]
    refused = CliRunner().invoke(main, [*command, str(tmp_path / "new.mlpackage")])
    assert refused.exit_code == 1
    assert "--target iOS18" in refused.output
    made = CliRunner().invoke(main, [*command, str(tmp_path / "new.mlpackage"), "--target", "iOS18"])
    assert made.exit_code == 0, made.output
    assert "\nWarning: the program is for iOS16; what is made of it needs iOS18\n" in f"\n{made.stderr}"
    assert {row.stored_as for row in inspect(tmp_path / "new.mlpackage").weights} >= {"3-bit palette"}


def test_a_program_that_changes_when_it_is_raised_is_refused(monkeypatch):
    network, example = CASES["images"]()
    package = convert(network, (example,), minimum_deployment_target="iOS16")

    def other(model, version=None):
        program = load_program(model, version)
        if version is not None:
            weight = program_weights(program)[0]
            with program.functions["main"]:
                replace_value(weight.var, mb.const(val=weight.var.val + 1, before_op=weight.var.op))
        return program

    load_program = raising.load_program
    monkeypatch.setattr(raising, "load_program", other)
    with pytest.raises(ExportError, match="changes when it is raised from iOS16 to iOS18; convert the original model"):
        CoreMLTarget(package, deployment=DeploymentTarget.iOS18).result()


def test_a_program_that_cannot_be_run_is_raised_with_a_warning(monkeypatch):
    network, example = CASES["images"]()
    package = convert(network, (example,), minimum_deployment_target="iOS16")

    def refuse(*_, **__):
        raise ExportError("no")

    monkeypatch.setattr(raising, "Executable", refuse)
    with pytest.warns(PlanWarning, match="raised to iOS18, and could not be run to compare both: no"):
        CoreMLTarget(package, deployment=DeploymentTarget.iOS18).result()


def test_an_operation_that_has_changed_is_named():
    @mb.program(input_specs=[mb.TensorSpec((1, 3, 8, 8))], opset_version=ct.target.iOS15)
    def program(x):
        return mb.crop_resize(x=x, roi=np.zeros((1, 1, 5, 1, 1), np.float32), target_height=4, target_width=4)

    old = ct.convert(program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS15, skip_model_load=True)
    with pytest.raises(PlanError, match=r"cannot be raised to iOS18: crop_resize has no input 'roi' there; convert"):
        Pipeline([Stage("rtn")]).plan(old, minimum_deployment_target="iOS18")
