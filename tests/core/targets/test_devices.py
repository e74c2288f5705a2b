from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.encoding import AffineForm, DenseForm, PaletteForm, SparseForm
from corepress.errors import PlanError
from corepress.targets.devices import COMPUTE_UNITS, DEVICE_REPORTS, device_warnings, parse_compute_units

DOCS = Path(__file__).parents[3] / "docs" / "devices.md"
BLOCKS = AffineForm(4, scales=8, blockwise=True)
SOURCES = {report.source.rpartition("/")[2]: report for report in DEVICE_REPORTS}


def _sources(forms, states=None, units="CPU_AND_NE"):
    found = device_warnings(forms, states or {}, units)
    return [next(number for number, report in SOURCES.items() if report.source in text) for text in found]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (DenseForm(), []),
        (AffineForm(8, scales=8), []),
        (AffineForm(4, scales=8), []),
        (BLOCKS, ["205", "279"]),
        (AffineForm(8, scales=8, blockwise=True), ["279"]),
        (PaletteForm(4), ["2688"]),
        (PaletteForm(6), []),
        (SparseForm(0.5), []),
        (SparseForm(0.5, BLOCKS), ["205", "279"]),
        (SparseForm(0.5, PaletteForm(4)), ["2688"]),
        (SparseForm(0.5, AffineForm(8)), []),
    ],
)
def test_weights_are_warned_about_by_their_form(form, expected):
    assert _sources({"a": form, "b": DenseForm()}) == expected


def test_stateful_programs_are_warned_about_by_their_states():
    assert _sources({}, {"cache": (1, 8, 64)}) == []
    assert _sources({}, {"cache": (1, 8, 270)}) == ["2631"]
    assert _sources({}, {"cache": (1, 8, None)}) == []
    assert _sources({"a": PaletteForm(4)}, {"cache": (1, 64)}) == ["2716", "2688"]
    assert "2716" in _sources({"a": SparseForm(0.5, PaletteForm(4))}, {"cache": (1, 64)})
    assert _sources({"a": PaletteForm(6)}, {"cache": (1, 64)}) == []


@pytest.mark.parametrize("units", COMPUTE_UNITS)
def test_only_packages_that_may_run_on_the_neural_engine_are_warned_about(units):
    assert bool(_sources({"a": BLOCKS}, units=units)) == (units in ("ALL", "CPU_AND_NE"))


def test_a_warning_names_the_weights_the_trouble_the_source_and_the_way_out():
    (text, _) = device_warnings(dict.fromkeys("abcde", BLOCKS), {}, "ALL")
    assert text.startswith("a, b, c and 2 more: the compiler of the Neural Engine fails on int4")
    assert "https://github.com/apple/coreai-models/issues/205" in text
    assert "https://github.com/apple/coreai-models/issues/55" in text
    assert text.endswith("; palettize to 4 bits instead")


def test_facts_of_the_reports():
    assert SOURCES["2716"].seen_on == "macOS 26.5, M5 Max"
    assert "Core ML Tools 8.3" in SOURCES["2716"].way_out
    assert SOURCES["205"].earlier == "https://github.com/apple/coreai-models/issues/55"
    assert "one comment" in SOURCES["2688"].symptom


def test_compute_units_are_names_or_those_of_coremltools():
    assert parse_compute_units("cpu_and_ne") == "CPU_AND_NE"
    assert parse_compute_units(ct.ComputeUnit.ALL) == "ALL"
    with pytest.raises(PlanError, match=r"^compute_units 'NPU' is not one of ALL, CPU_AND_NE, CPU_AND_GPU, CPU_ONLY$"):
        parse_compute_units("NPU")


def test_the_plan_of_a_torch_model_warns():
    stage = Stage("rtn", {"global_config": {"weight_dtype": "int4", "granularity": "per_block", "block_size": 8}})
    model = nn.Sequential(nn.Linear(32, 16))
    assert not Pipeline([stage]).plan(model).warnings
    found = Pipeline([stage]).plan(model, compute_units=ct.ComputeUnit.CPU_AND_NE).warnings
    assert [text.partition(":")[0] for text in found] == ["0.weight", "0.weight"]
    assert not Pipeline([stage]).plan(model, compute_units="CPU_ONLY").warnings


def test_the_plan_of_a_stateful_program_warns():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(20, 20)
            self.register_buffer("seen", torch.zeros(1, 20, dtype=torch.float16))

        def forward(self, x):
            self.seen.add_(x.half())
            return self.linear(self.seen.float())

    x = torch.rand(1, 20)
    package = ct.convert(
        torch.jit.trace(Counting().eval(), x),
        inputs=[ct.TensorType(shape=x.shape, dtype=np.float16)],
        outputs=[ct.TensorType(dtype=np.float16)],
        states=[ct.StateType(ct.TensorType(shape=(1, 20), dtype=np.float16), name="seen")],
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
    )
    palettize = Pipeline([Stage("kmeans", {"global_config": {"n_bits": 4}})])
    found = palettize.plan(package, compute_units="CPU_AND_NE").warnings
    assert any(text.startswith("seen: the Neural Engine refuses programs with a state") for text in found)
    assert any("crashes on the Neural Engine after 100 to 200 predictions" in text for text in found)


def test_the_documentation_holds_the_reports():
    rows = [
        f"| {report.symptom} | {report.seen_on} | {report.way_out} | "
        + ", ".join(f"[source]({source})" for source in report.sources)
        + " |"
        for report in DEVICE_REPORTS
    ]
    table = "\n".join(["| problem | seen on | what to do | source |", "|---|---|---|---|", *rows])
    assert table in DOCS.read_text(encoding="utf-8")
