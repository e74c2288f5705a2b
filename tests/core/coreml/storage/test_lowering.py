import attrs
import numpy as np
import pytest
import torch

from corepress.coreml.storage.exactness import exact_storage, rounding_to
from corepress.encoding import Dense, Form, OpaqueForm, Palettized, Sparse, WeightEncoding
from corepress.errors import ExportError
from corepress.targets.deployment import DeploymentTarget


def test_every_form_survives_its_way_into_a_package_of_half_precision_and_knows_its_size(every_form, through_package):
    for form, encoding in every_form.items():
        weight = through_package(encoding)
        assert torch.equal(weight.value, rounding_to(np.float16)(encoding.decode())), form
        assert weight.compressed, form
        # What is pruned altogether keeps one zero, since no operation holds nothing.
        if "everything pruned" not in form:
            held = exact_storage(encoding, rounding_to(np.float16), DeploymentTarget.iOS18)
            assert weight.nbytes == held.nbytes() == held.form.nbytes(encoding.count, "iOS18"), form


def test_every_form_survives_its_way_into_a_package_of_single_precision_as_it_is(every_form, through_package):
    padded = {"palette of 5 bits", "int6", "everything pruned", "sparse palette, everything pruned"}
    for form, encoding in every_form.items():
        weight = through_package(encoding, dtype=np.float32)
        assert torch.equal(weight.value, encoding.decode()), form
        assert weight.compressed, form
        if form not in padded:
            assert weight.encoding == _folded(encoding), form


def _folded(encoding):
    """The encoding as a package stores it: per-channel scales are multiplied into the tables."""
    if isinstance(encoding, Sparse):
        return Sparse(encoding.mask, _folded(encoding.payload))
    return encoding.folded() if isinstance(encoding, Palettized) else encoding


def test_the_joint_form_is_one_chain_of_three_operations(every_form, through_package):
    assert through_package(every_form["sparse palette, int8 LUT"]).ops == (
        "constexpr_blockwise_shift_scale",
        "constexpr_lut_to_sparse",
        "constexpr_sparse_to_dense",
    )


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3), (4, 6, 3, 3), (4, 6, 2, 2, 2)])
def test_weights_of_every_rank_are_exact(encodings, through_package, shape):
    ones = (1,) * (len(shape) - 1)
    for encoding in (
        encodings.palette(shape, 4, (2, *ones)),
        encodings.affine(shape, 8, (4, *ones)),
        Sparse(encodings.mask(*shape), encodings.palette(shape, 3, scale=encodings.scales(4, *ones))),
    ):
        assert torch.equal(through_package(encoding).value, rounding_to(np.float16)(encoding.decode()))


@pytest.mark.parametrize("target", ["iOS16", "iOS17"])
def test_older_targets_hold_their_forms_exactly(encodings, through_package, target):
    shape = (8, 5)
    forms = {
        "constexpr_lut_to_dense": [encodings.palette(shape, bits) for bits in (1, 2, 4, 6, 8)],
        "constexpr_affine_dequantize": [
            encodings.affine(shape, 8, (1, 1)),
            encodings.affine(shape, 8, (8, 1)),
            encodings.affine(shape, 8, (1, 5), signed=False, zero_points=True),
        ],
        "constexpr_sparse_to_dense": [
            Sparse(encodings.mask(*shape, kept=kept), Dense(encodings.normal(*shape))) for kept in (-1, 0.5, 2)
        ],
    }
    for op, of_this_op in forms.items():
        for encoding in of_this_op:
            weight = through_package(encoding, target)
            assert weight.ops == (op,)
            assert torch.equal(weight.value, rounding_to(np.float16)(encoding.decode()))
            if not isinstance(encoding, Sparse) or encoding.kept > 0:
                assert through_package(encoding, target, np.float32).encoding == encoding


@pytest.mark.parametrize("shape", [(1, 1), (2, 3)])
def test_weights_of_few_elements_are_exact(encodings, through_package, shape):
    for encoding in (
        encodings.palette(shape, 1),
        encodings.affine(shape, 4, (1, 1)),
        Sparse(torch.ones(shape) > 0, Dense(torch.ones(shape))),
    ):
        assert torch.equal(through_package(encoding).value, rounding_to(np.float16)(encoding.decode()))


def test_stored_bytes_are_what_the_encoding_predicts(every_form, through_package):
    for form in (
        "palette",
        "palette of 3 bits",
        "int4 in blocks",
        "sparse",
        "sparse palette",
        "sparse int8",
        "int8 LUT",
        "per-channel scale",
        "sparse palette, scale",
    ):
        assert through_package(every_form[form]).nbytes == every_form[form].nbytes("iOS18"), form


def test_the_error_of_an_old_target_names_the_weight_and_the_way_out(encodings, through_package):
    with pytest.raises(ExportError) as caught:
        through_package(encodings.palette((8, 12), 4, (4, 1)), "iOS16")
    assert str(caught.value) == (
        "w.weight: 4-bit palette, 4 LUTs needs iOS18, but minimum_deployment_target is iOS16; "
        "raise the target or use granularity per_tensor"
    )


@attrs.frozen(eq=False)
class Halves(WeightEncoding):
    """A plugin's encoding: a weight and its half, stacked."""

    base: Palettized
    kind = "halves"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def form(self) -> Form:
        return OpaqueForm("halves", self.base.nbytes())

    def decode(self) -> torch.Tensor:
        return self.base.decode()


class HalvesWithLowering(Halves):
    def lower_coreml(self, ops):
        from corepress.coreml import lower

        return lower(self.base, ops)


class HalvesOfAnotherShape(Halves):
    def lower_coreml(self, ops):
        return ops.add("const", val=np.zeros((2, 2), ops.dtype))


def test_an_encoding_of_a_plugin_lowers_itself(encodings, through_package):
    base = encodings.palette((8, 12), 4)
    assert torch.equal(through_package(HalvesWithLowering(base)).value, rounding_to(np.float16)(base.decode()))


def test_an_encoding_without_lowering_is_refused(encodings, through_package):
    with pytest.raises(ExportError) as caught:
        through_package(Halves(encodings.palette((8, 12), 4)))
    assert str(caught.value) == (
        "w.weight: a halves encoding has no Core ML form; define lower_coreml(self, ops) on Halves"
    )


def test_a_lowering_of_another_shape_is_refused(encodings, through_package):
    with pytest.raises(ExportError) as caught:
        through_package(HalvesOfAnotherShape(encodings.palette((8, 12), 4)))
    assert str(caught.value) == (
        "w.weight: lower_coreml of HalvesOfAnotherShape returned shape (2, 2) for a weight of shape (8, 12)"
    )


def test_a_table_that_is_no_plain_form_is_stored_by_its_values(encodings, through_package):
    palette = encodings.palette((8, 12), 2)
    sparse_table = attrs.evolve(palette, lut=Sparse(encodings.mask(1, 1, 4, 1), palette.lut))
    assert torch.equal(through_package(sparse_table).value, rounding_to(np.float16)(sparse_table.decode()))
