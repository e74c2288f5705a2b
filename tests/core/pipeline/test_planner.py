"""Plans: what would happen, why, and what cannot."""

import copy
import re

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import ConfigError, PlanError


def plan(model, stages, **options):
    return Pipeline([Stage(name, config) for name, config in stages]).plan(model, **options)


def test_a_plan_touches_nothing(model):
    before = copy.deepcopy(model.state_dict())
    plan(model, [("magnitude", None)])
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_rows_say_steps_rules_and_predicted_bytes(model, toys):
    rows = plan(model, [("magnitude", {"global_config": {"target_sparsity": 0.75}}), ("sign", None)])
    row = rows["5.weight"]
    assert row.status == "planned"
    assert row.steps == ("magnitude", "sign")
    assert row.rules == ("global_config", "global_config")
    assert row.form == "75% sparse, 1-bit palette"
    assert row.bytes_before == 2560
    assert row.bytes_after == 1280 // 8 + 320 // 8 + 2 * 2


def test_predicted_bytes_are_those_of_the_report(model, toys):
    pipeline = Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.75}}), Stage("sign")])
    planned = pipeline.plan(model)
    pipeline.compress(model)
    report = pipeline.report()
    assert {name: row.bytes_after for name, row in planned.items()} == {
        name: row.bytes_after for name, row in report.items()
    }


def test_null_leaves_a_weight_alone_and_says_by_which_rule(model):
    row = plan(model, [("magnitude", {"global_config": {}, "module_name_configs": {"5": None}})])["5.weight"]
    assert (row.status, row.reason) == ("left", "module_name_configs['5'] is null")


def test_parameters_that_nothing_compresses_are_listed(model):
    rows = plan(model, [("magnitude", None)])
    assert rows["1.weight"].status == "unknown"
    assert rows["1.weight"].reason == "biases and other vectors are not compressed"
    assert rows.totals["count"] == sum(parameter.numel() for parameter in model.parameters())


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 16, 8))
        self.scale = nn.Parameter(torch.ones(8))


def test_other_parameters_are_compressed_when_a_rule_names_them():
    rows = plan(nn.Sequential(Positions()), [("kmeans", None)])
    assert (
        rows["0.table"].reason
        == "only rules about Positions are meant for it; give its name, its type, or a weight_threshold"
    )
    for rules in ({"module_name_configs": {"0.table": {}}}, {"module_type_configs": {"Positions": {}}}):
        rows = plan(nn.Sequential(Positions()), [("kmeans", {**rules, "global_config": None})])
        assert [row.name for row in rows.done] == ["0.table"]


def test_a_weight_reached_by_a_wide_rule_is_skipped_with_its_reason(toys):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4))
    rows = plan(model, [("sign", {"global_config": {"even_only": True}})])
    assert (rows["0.weight"].status, rows["0.weight"].reason) == ("skipped", "sign: 3 output channels are odd")
    assert rows["1.weight"].status == "planned"
    assert rows.warnings == ("1 of 2 weights were skipped: 0.weight: sign: 3 output channels are odd",)


def test_a_named_weight_that_cannot_be_compressed_as_asked_is_an_error(toys):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4))
    with pytest.raises(PlanError) as caught:
        plan(model, [("sign", {"module_name_configs": {"0": {"even_only": True}}})])
    assert str(caught.value) == (
        "0.weight: stage 1 (sign) cannot compress it as module_name_configs['0'] asks: 3 output channels are odd"
    )


def test_strict_makes_errors_of_skips(toys):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4))
    with pytest.raises(PlanError, match="3 output channels are odd"):
        plan(model, [("sign", {"global_config": {"even_only": True}})], strict=True)


def test_a_name_that_selects_nothing_is_an_error_with_the_stage(model):
    with pytest.raises(ConfigError) as caught:
        plan(model, [("magnitude", {"module_name_configs": {"5.weigth": None}})])
    assert str(caught.value) == (
        "stage 1 (magnitude): module_name_configs['5.weigth']: nothing in the model has the name '5.weigth'; "
        "did you mean '5.weight'?"
    )


def test_a_type_that_selects_nothing_is_a_warning_and_an_error_when_strict(model):
    stages = [("magnitude", {"module_type_configs": {"Conv3d": {}, "Linear": {}}})]
    message = "stage 1 (magnitude): module_type_configs['Conv3d'] matches no weight"
    assert plan(model, stages).warnings == (message,)
    with pytest.raises(ConfigError) as caught:
        plan(model, stages, strict=True)
    assert str(caught.value) == message


def test_a_pipeline_that_compresses_nothing_says_so(model):
    rows = plan(model, [("magnitude", {"module_type_configs": {"Conv3d": {}}})])
    assert rows.warnings[-1] == "nothing is compressed: no rule reaches a weight that can be compressed as it asks"


def test_joint_forms_need_ios18(model, toys):
    stages = [("magnitude", {"module_name_configs": {"5": {}}}), ("sign", {"module_name_configs": {"5": {}}})]
    assert plan(model, stages, minimum_deployment_target="macOS15")["5.weight"].status == "planned"
    with pytest.raises(PlanError) as caught:
        plan(model, stages, minimum_deployment_target="iOS17")
    assert str(caught.value) == (
        "5.weight: 50% sparse, 1-bit palette needs iOS18, but minimum_deployment_target is iOS17; "
        "raise the target or compress it in one way only"
    )


def test_an_algorithm_that_cannot_predict_is_still_held_to_the_order(model, toys):
    row = plan(model, [("unpredicted", None), ("magnitude", None)])["5.weight"]
    assert (row.form, row.bytes_after, row.ratio) == ("known when done", None, None)
    with pytest.raises(PlanError, match=r"5.weight: stage 2 \(sign\) cannot work after unpredicted: it is palettized"):
        plan(model, [("unpredicted", None), ("sign", None)])


def test_a_parametrized_weight_is_skipped_with_the_way_out():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.Linear(4, 4))
    assert plan(model, [("magnitude", None)])["0.weight"].reason == (
        "magnitude: it is parametrized by _WeightNorm; call torch.nn.utils.parametrize.remove_parametrizations first"
    )


def test_tied_weights_are_one_row_with_two_names():
    model = nn.ModuleDict({"embed": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    rows = plan(model, [("magnitude", None)])
    assert rows["embed.weight"] is rows["head.weight"]
    assert rows.totals["count"] == 400


def test_tied_weights_with_conflicting_rules_are_refused():
    model = nn.ModuleDict({"embed": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    rules = {"Embedding": {"target_sparsity": 0.25}, "Linear": {"target_sparsity": 0.5}}
    with pytest.raises(ConfigError, match="'embed"):
        plan(model, [("magnitude", {"module_type_configs": rules})])


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (
            torch.zeros(3, 3, dtype=torch.complex64),
            "its dtype is torch.complex64, and corepress compresses floating-point weights",
        ),
        (
            torch.zeros(3, 3, dtype=torch.float8_e4m3fn),
            "its dtype is torch.float8_e4m3fn, which torch only stores; convert it with weight.float() first",
        ),
        (torch.zeros(0, 3), "it has no elements"),
        (
            torch.zeros(3, 3, device="meta"),
            "it has no values (meta device); load the model's weights first",
        ),
    ],
)
@pytest.mark.parametrize("algorithm", ["magnitude", "kmeans"])
def test_a_weight_that_nothing_can_compress_is_skipped_with_the_reason(weight, reason, algorithm):
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].weight = nn.Parameter(weight)
    pipeline = Pipeline([Stage(algorithm)])
    assert pipeline.plan(model)["0.weight"].reason == f"{algorithm}: {reason}"
    pipeline.compress(model)
    assert pipeline.report()["1.weight"].status == "compressed"


def test_a_weight_under_a_parametrization_is_counted_once():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8, bias=False)), nn.Linear(4, 4))
    assert plan(model, [("magnitude", None)]).totals["count"] == 64 + 16 + 4


def test_a_weight_whose_statistics_do_not_fit_into_memory_is_skipped_before_any_work():
    model = nn.Sequential(nn.Conv2d(4096, 1, (64, 1)), nn.Linear(8, 8))
    rows = plan(model, [("gptq", None)])
    assert rows["0.weight"].status == "skipped"
    assert re.search(r"its statistics take 274\.9 GB, too much for a machine of \d+ GB", rows["0.weight"].reason)
    assert rows["1.weight"].status == "planned"
    with pytest.raises(PlanError, match="its statistics take"):
        plan(model, [("gptq", {"module_name_configs": {"0": {}}})])
