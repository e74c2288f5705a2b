"""Reports: the same table as the plan, with what was measured."""

import json
import math

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.pipeline.measuring import relative_error
from corepress_plugins.pruning import MagnitudePruner


@pytest.fixture
def report(model, toys):
    pipeline = Pipeline([Stage("magnitude", {"module_type_configs": {"Conv2d": {}}}), Stage("sign")])
    pipeline.compressed = pipeline.compress(model)
    pipeline.model = model
    return pipeline


def test_rows_measure_what_was_done(report):
    row = report.report()["0.weight"]
    original, now = report.model[0].weight.detach(), report.compressed[0].weight.detach()
    assert row.status == "compressed"
    assert row.steps == ("magnitude", "sign")
    assert row.sparsity == 0.5
    assert row.relative_error == pytest.approx(float((original - now).norm() / original.norm()), rel=1e-6)
    assert row.snr_db == pytest.approx(-20 * math.log10(row.relative_error))
    assert row.bits == pytest.approx(8 * row.bytes_after / 432)
    assert row.ratio == pytest.approx(864 / row.bytes_after)
    assert row.seconds >= 0


def test_further_columns_of_an_algorithm_are_there(model):
    pipeline = Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.5, "block_size": 2}})])
    pipeline.compress(model)
    measures = pipeline.report()["5.weight"].measures
    assert measures == {
        "structured_weight_sparsity": 0.0,
        "unstructured_weight_sparsity": 0.5,
        "block2_weight_sparsity": 0.5,
    }


def test_totals_count_the_whole_model(report):
    totals = report.report().totals
    assert totals["count"] == sum(p.numel() for p in report.model.parameters())
    assert totals["bytes_before"] == 2 * totals["count"]
    assert totals["bytes_after"] == sum(row.bytes_after for row in report.report().rows)
    assert totals["ratio"] == totals["bytes_before"] / totals["bytes_after"]


def test_the_json_form_has_every_column(report):
    data = json.loads(report.report().to_json())
    assert set(data) == {"rows", "totals", "warnings", "notes"}
    assert set(data["rows"]["0.weight"]) >= {
        *("status", "steps", "rules", "reason", "form", "bits", "sparsity", "bytes_before", "bytes_after", "ratio"),
        *("relative_error", "snr_db", "seconds", "measures"),
    }


def test_the_table_answers_why_a_model_is_not_smaller(model):
    pipeline = Pipeline(
        [Stage("magnitude", {"global_config": {"target_sparsity": 0.01}, "module_name_configs": {"5": None}})]
    )
    pipeline.compress(model)
    text = str(pipeline.report())
    assert "not compressed: 5.weight (2560 bytes, 43.7% of the model): module_name_configs['5'] is null" in text
    assert "larger than before: 0.weight: 1% sparse takes 910 bytes" in text
    assert "whole model: 2 of 8 parameters" in text


def test_the_columns_are_aligned(report):
    lines = [line for line in str(report.report()).splitlines() if " | " in line]
    bars = [[i for i, c in enumerate(line) if c == "|"] for line in lines]
    assert all(found == bars[0] for found in bars)


def test_an_exact_weight_has_infinite_snr():
    model = nn.Sequential(nn.Linear(4, 4))
    torch.nn.init.zeros_(model[0].weight)
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.compress(model)
    assert pipeline.report()["0.weight"].snr_db == math.inf
    assert json.loads(pipeline.report().to_json())["rows"]["0.weight"]["snr_db"] is None


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-30, 1e18])
def test_the_relative_error_does_not_depend_on_the_scale(scale):
    original = torch.tensor([1.0, -2.0, 2.0]) * scale
    assert relative_error(original, torch.tensor([1.0, -2.0, 1.0]) * scale) == pytest.approx(1 / 3, rel=1e-5)


def test_the_relative_error_of_nothing_is_zero():
    assert relative_error(torch.zeros(3), torch.zeros(3)) == 0.0
    assert relative_error(torch.zeros(3), torch.ones(3)) == math.inf


def test_columns_and_measures_are_read_by_key_as_in_the_documentation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    pruner = MagnitudePruner(model, {"global_config": {"target_sparsity": 0.25}})
    pruner.prepare(inplace=True)
    pruner.step()
    report = pruner.report()
    assert report["0"]["unstructured_weight_sparsity"] == 0.25
    assert report["0"]["#params"] == 64
    assert report["global"]["unstructured_weight_sparsity"] == 0.25
    assert report["global"]["#params"] == report.totals["count"]
    assert "global" not in list(report)
    with pytest.raises(KeyError, match=r"0\.weight has no column 'sparsty'; did you mean 'sparsity'"):
        report["0"]["sparsty"]
    assert dict(report["0"])["unstructured_weight_sparsity"] == 0.25
    assert "#params" in report["0"]
    assert "sparsty" not in report["0"]
