"""Published reports of trouble on devices, as data with their sources; plans warn about weights that they concern."""

from collections.abc import Mapping
from typing import Any

import attrs

from corepress.config.suggestions import some_names
from corepress.encoding import AffineForm, Form, PaletteForm, SparseForm
from corepress.errors import PlanError

COMPUTE_UNITS = ("ALL", "CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY")
_NEURAL_ENGINE = frozenset({"ALL", "CPU_AND_NE"})


@attrs.frozen(kw_only=True)
class DeviceReport:
    """A published report that a device refuses a package, crashes on it, or computes something else.

    `source` is its address, `earlier` the address of a report that it follows up, `seen_on` the systems that it names,
    `way_out` what to do about it. It concerns packages that run on one of the `compute_units` and hold weights of the
    form `kind` ("affine" or "palettized"), pruned or not, where the further conditions on the form hold; with
    `state_multiple`, programs with a state whose last dimension is no multiple of that number. `stateful` limits it to
    programs with states.
    """

    source: str
    seen_on: str
    symptom: str
    way_out: str
    earlier: str | None = None
    compute_units: frozenset[str] = _NEURAL_ENGINE
    kind: str | None = None
    n_bits: int | None = None
    blockwise: bool | None = None
    stateful: bool = False
    state_multiple: int | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """The addresses of the report and of the one that it follows up."""
        return (self.source,) if self.earlier is None else (self.source, self.earlier)

    def concerns_form(self, form: Form) -> bool:
        """Tell whether a weight of that form, or its kept values, are of the form that the report is about."""
        if isinstance(form, SparseForm):
            return self.concerns_form(form.payload)
        if self.kind is None or form.kind != self.kind:
            return False
        bits = form.n_bits if isinstance(form, AffineForm | PaletteForm) else None
        blockwise = isinstance(form, AffineForm) and form.blockwise
        return self.n_bits in (None, bits) and self.blockwise in (None, blockwise)

    def concerns_state(self, shape: tuple[int | None, ...]) -> bool:
        """Tell whether a state of that shape is one that the report is about."""
        last = shape[-1] if shape else None
        return self.state_multiple is not None and last is not None and last % self.state_multiple != 0


DEVICE_REPORTS = (
    DeviceReport(
        source="https://github.com/apple/coreai-models/issues/205",
        earlier="https://github.com/apple/coreai-models/issues/55",
        seen_on="macOS 27 beta, M4 Max",
        symptom="the compiler of the Neural Engine fails on int4 weights in blocks of a static language model without "
        "an error code, and the package runs on the GPU; earlier betas, before 27 August 2026, crashed",
        way_out="palettize to 4 bits instead",
        kind="affine",
        n_bits=4,
        blockwise=True,
    ),
    DeviceReport(
        source="https://github.com/apple/coreai-models/issues/279",
        seen_on="iOS 27, iPhone 16 Pro Max",
        symptom="the Neural Engine computes wrong outputs from integers in blocks, without an error",
        way_out="palettize instead, or quantize per channel",
        kind="affine",
        blockwise=True,
    ),
    DeviceReport(
        source="https://github.com/apple/coremltools/issues/2716",
        seen_on="macOS 26.5, M5 Max",
        symptom="a stateful program with palettes of 4 bits crashes on the Neural Engine after 100 to 200 predictions",
        way_out="run several hundred predictions on a device before you ship; the reporter's package that Core ML "
        "Tools 8.3 made of the same source does not crash",
        kind="palettized",
        n_bits=4,
        stateful=True,
    ),
    DeviceReport(
        source="https://github.com/apple/coremltools/pull/2688",
        seen_on="macOS 26.6.2, M4",
        symptom="one comment of 23 September 2026, which nobody has confirmed, says that the Neural Engine did not "
        "load a package for iOS18 with palettes of 4 bits and no per-channel scale, which Core ML Tools 9.0 made of "
        "Qwen3-Embedding-0.6B",
        way_out="load the package on a device before you ship",
        kind="palettized",
        n_bits=4,
    ),
    DeviceReport(
        source="https://github.com/apple/coremltools/issues/2631",
        seen_on="macOS 15.2, M4",
        symptom="the Neural Engine refuses programs with a state whose last dimension is no multiple of 32",
        way_out="pad the state",
        state_multiple=32,
    ),
)


def parse_compute_units(value: Any) -> str:
    """Return the name of the compute units that `"CPU_AND_NE"` or `coremltools.ComputeUnit.CPU_AND_NE` stands for.

    Raises:
        PlanError: there are no such compute units.
    """
    name = value if isinstance(value, str) else getattr(value, "name", repr(value))
    if name.upper() not in COMPUTE_UNITS:
        raise PlanError(f"compute_units {name!r} is not one of {', '.join(COMPUTE_UNITS)}")
    return str(name.upper())


def device_warnings(
    forms: Mapping[str, Form], states: Mapping[str, tuple[int | None, ...]], compute_units: str
) -> list[str]:
    """Return a warning for each published report about weights of these forms, or states of these shapes."""
    warnings = []
    for report in DEVICE_REPORTS:
        if compute_units not in report.compute_units or (report.stateful and not states):
            continue
        concerned = [name for name, form in forms.items() if report.concerns_form(form)]
        concerned += [name for name, shape in states.items() if report.concerns_state(shape)]
        if concerned:
            warnings.append(
                f"{some_names(concerned)}: {report.symptom} (seen on {report.seen_on}, "
                f"{' and '.join(report.sources)}); {report.way_out}"
            )
    return warnings
