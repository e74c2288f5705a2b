"""Which deployment target a storage form needs; free of coremltools, so that planning stays cheap."""

from collections.abc import Iterator
from typing import Any

from corepress.encoding import AffineForm, DenseForm, Form, PaletteForm, SparseForm
from corepress.encoding.bits import INDEX_BITS_IOS16
from corepress.errors import ExportError, PluginError
from corepress.targets.deployment import DeploymentTarget

_INT4_BITS = 4


def minimum_target(form: Form) -> DeploymentTarget:
    """Return the oldest target whose operations hold the form; a plugin's own form says it.

    Even one that is lowered to a plain constant needs iOS16, whose operations mark its place during conversion.
    """
    if isinstance(form, DenseForm):
        return DeploymentTarget.iOS15
    if any(_newer_than_ios16(form)):
        return DeploymentTarget.iOS18
    if isinstance(form, SparseForm | PaletteForm | AffineForm):
        return DeploymentTarget.iOS16
    return max(DeploymentTarget.iOS16, _declared(form))


def _declared(form: Form) -> DeploymentTarget:
    try:
        return DeploymentTarget.parse(form.needs())
    except ExportError as error:
        raise PluginError(f"{form.describe()}: its minimum_target is none: {error}") from error


def scales_after_look_up(target: DeploymentTarget) -> bool:
    """Tell whether a LUT of integers is scaled after the look-up, as for iOS26, or before it, as for iOS18."""
    return target >= DeploymentTarget.iOS26


def check(form: Form, target: Any, *, program: bool = False) -> None:
    """Raise ExportError, with the way out but without the weight's name, when the target cannot hold the form.

    `program` says that the target is that of a program which exists.
    """
    why = lack(form, target, program=program)
    if why is not None:
        raise ExportError(f"{form.describe()} {why}")


def lack(form: Form, target: Any, *, program: bool = False) -> str | None:
    """Return why the target cannot hold the form, with the way out, or None; the sentence goes on after the form."""
    wanted, needed = DeploymentTarget.parse(target), minimum_target(form)
    if wanted >= needed:
        return None
    given = f"the program is for {wanted}" if program else f"minimum_deployment_target is {wanted}"
    raising = f"pass minimum_deployment_target={str(needed)!r} (--target {needed}), which raises the program,"
    ways_out = [raising if program else "raise the target"]
    without = " and ".join(_newer_than_ios16(form))
    if without and wanted >= DeploymentTarget.iOS16:
        ways_out.append(without)
    return f"needs {needed}, but {given}; {' or '.join(ways_out)}"


def check_activations(target: DeploymentTarget) -> None:
    """Raise ExportError, with the way out, when the target has no quantized activations."""
    if target < DeploymentTarget.iOS17:
        raise ExportError(
            f"quantized activations need iOS17, but minimum_deployment_target is {target}; raise the target, or leave "
            "activations in float (activation_dtype float32)"
        )


def _newer_than_ios16(form: Form) -> Iterator[str]:
    """Yield, for each trait that arrived with iOS18, what to do without it."""
    if isinstance(form, SparseForm) and not isinstance(form.payload.as_part(), DenseForm):
        yield "compress it in one way only"
    if isinstance(form, AffineForm):
        if form.n_bits <= _INT4_BITS:
            yield "use an 8-bit dtype"
        if form.blockwise:
            yield "use granularity per_channel"
    if isinstance(form, PaletteForm):
        if form.n_bits not in INDEX_BITS_IOS16:
            yield f"use n_bits {form.n_bits + 1}"
        if form.groups > 1:
            yield "use granularity per_tensor"
        if form.cluster_dim > 1:
            yield "use cluster_dim 1"
        if form.scales:
            yield "turn enable_per_channel_scale off"
        if not isinstance(form.lut.as_part(), DenseForm):
            yield "leave lut_dtype out"
