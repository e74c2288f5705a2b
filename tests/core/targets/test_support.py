import pytest

from corepress.coreml import DeploymentTarget, check, minimum_target
from corepress.encoding import AffineForm, DenseForm, OpaqueForm, PaletteForm, SparseForm
from corepress.errors import ExportError, PluginError

SINCE_IOS16 = [
    *(PaletteForm(bits) for bits in (1, 2, 4, 6, 8)),
    AffineForm(8),
    AffineForm(8, signed=False, scales=64, zero_points=True),
    SparseForm(0.5),
]
SINCE_IOS18 = [
    (PaletteForm(3), "use n_bits 4"),
    (PaletteForm(4, groups=32), "use granularity per_tensor"),
    (PaletteForm(4, cluster_dim=2), "use cluster_dim 1"),
    (PaletteForm(4, scales=8), "turn enable_per_channel_scale off"),
    (PaletteForm(4, lut=AffineForm(8)), "leave lut_dtype out"),
    (AffineForm(4), "use an 8-bit dtype"),
    (AffineForm(8, scales=32, blockwise=True), "use granularity per_channel"),
    (SparseForm(0.5, PaletteForm(4)), "compress it in one way only"),
    (SparseForm(0.5, AffineForm(8)), "compress it in one way only"),
]


@pytest.mark.parametrize("form", SINCE_IOS16, ids=str)
def test_the_plain_forms_came_with_ios16(form):
    assert minimum_target(form) is DeploymentTarget.iOS16
    check(form, "iOS16")


@pytest.mark.parametrize(("form", "way_out"), SINCE_IOS18, ids=str)
def test_the_rest_came_with_ios18(form, way_out):
    assert minimum_target(form) is DeploymentTarget.iOS18
    check(form, "iOS18")
    with pytest.raises(ExportError) as caught:
        check(form, "iOS17")
    assert str(caught.value) == (
        f"{form.describe()} needs iOS18, but minimum_deployment_target is iOS17; raise the target or {way_out}"
    )


def test_every_newer_trait_is_named():
    with pytest.raises(ExportError) as caught:
        check(PaletteForm(3, groups=32), "iOS16")
    assert str(caught.value) == (
        "3-bit palette, 32 LUTs needs iOS18, but minimum_deployment_target is iOS16; "
        "raise the target or use n_bits 4 and use granularity per_tensor"
    )


def test_nothing_compressed_fits_before_ios16():
    with pytest.raises(ExportError) as caught:
        check(AffineForm(8), "iOS15")
    assert str(caught.value) == "int8 needs iOS16, but minimum_deployment_target is iOS15; raise the target"


def test_dense_forms_need_nothing_and_foreign_ones_the_operations_that_mark_them():
    assert minimum_target(DenseForm()) is DeploymentTarget.iOS15
    assert minimum_target(OpaqueForm("mine", 8)) is DeploymentTarget.iOS16
    assert minimum_target(OpaqueForm("mine", 8, minimum_target="iOS15")) is DeploymentTarget.iOS16
    assert minimum_target(OpaqueForm("mine", 8, minimum_target="iOS17")) is DeploymentTarget.iOS17


def test_a_foreign_form_for_a_system_that_does_not_exist_is_named():
    with pytest.raises(PluginError, match=r"^mine: its minimum_target is none: .*'iOS99' is not one of iOS15"):
        minimum_target(OpaqueForm("mine", 8, minimum_target="iOS99"))
