import numpy as np
import pytest
from tests.core.coreml import programs

from corepress.coreml import CoreMLTarget
from corepress.encoding import Affine, Dense
from corepress.errors import ExportError, WeightError


@pytest.fixture(scope="module")
def target():
    return CoreMLTarget(programs.layers())


@pytest.mark.parametrize(
    ("name", "kind", "axes", "groups"),
    [
        ("conv_w", "conv2d", (0, 1), 1),
        ("depth_w", "conv2d", (0, 1), 16),
        ("up_w", "conv_transpose2d", (1, 0), 1),
        ("linear_w", "linear", (0, 1), 1),
        ("add_w", "add", (0, 1), 1),
        ("y_w", "matmul", (1, 0), 1),
        ("ty_w", "matmul", (0, 1), 1),
        ("x_w", "matmul", (0, 1), 1),
        ("tx_w", "matmul", (1, 0), 1),
    ],
)
def test_the_operation_tells_kind_and_channel_axes(target, name, kind, axes, groups):
    facts = target.weight(name).facts
    assert (facts.kind, (facts.output_axis, facts.input_axis), facts.groups) == (kind, axes, groups)


def test_a_constant_that_no_layer_owns_is_incidental(target):
    assert target.weight("add_w").incidental == (
        "it is a constant of add, no layer's weight; give its name, its op type, or a weight_threshold"
    )
    assert target.weight("y_w").incidental is None


def test_a_constant_is_reached_by_its_own_name_that_of_its_operation_and_the_type(target):
    (alias,) = target.weight("conv_w").subject.aliases
    assert alias.names == ("conv_w", "conv_op")
    assert {"conv", "Conv2d", "torch.nn.Conv2d"} <= alias.types[0]


def test_a_tied_constant_is_one_weight_with_both_consumers():
    weight = CoreMLTarget(programs.tied()).weight("shared")
    assert [alias.names for alias in weight.subject.aliases] == [("shared", "embed"), ("shared", "head")]
    assert weight.kind == "embedding"
    assert len(CoreMLTarget(programs.tied()).weights()) == 2


def test_what_is_written_is_read_rounded_to_the_precision_of_the_package(target):
    weight = target.copy().weight("linear_w")
    wanted = Dense(weight.read() * (1 + 2.0**-13))
    weight.write(wanted)
    assert weight.encoding() == weight.stored(wanted)
    assert np.array_equal(weight.read(), weight.read().half().float())


def test_what_is_written_to_a_copy_leaves_the_original_alone(target):
    before = target.weight("linear_w").read().clone()
    copy = target.copy()
    copy.weight("linear_w").write(Dense(before * 0))
    assert np.array_equal(target.weight("linear_w").read(), before)
    assert not copy.weight("linear_w").read().any()


def test_an_encoding_of_another_shape_is_refused(target):
    with pytest.raises(WeightError) as caught:
        target.copy().weight("linear_w").write(Dense(target.weight("y_w").read()))
    assert str(caught.value) == "linear_w: the encoding decodes to (20, 10), the weight is (20, 144)"


def test_an_encoding_that_the_target_cannot_hold_is_refused_by_name():
    weight = CoreMLTarget(programs.layers("iOS16")).weight("y_w")
    int4 = Affine(weight.read().round().clamp(-8, 7).char(), weight.read()[:1, :1] * 0 + 0.5, n_bits=4)
    with pytest.raises(ExportError) as caught:
        weight.write(int4)
    assert str(caught.value) == (
        "y_w: int4 needs iOS18, but minimum_deployment_target is iOS16; raise the target or use an 8-bit dtype"
    )
