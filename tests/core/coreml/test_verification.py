import copy

import attrs
import numpy as np
import pytest
import torch
from tests.networks.images import SmallConvNet
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, save, verify
from corepress.coreml.program import blocks, load_program, write_program
from corepress.encoding import Dense, Sparse
from corepress.errors import ExportError, PrecisionWarning, VerificationError

IMAGE = torch.zeros(1, 3, 8, 8)
SHAPE = (8, 3, 3, 3)


@pytest.fixture
def tampered():
    """Return a package with one stored value changed."""

    def change(mlmodel, op_type, parameter, edit):
        program = load_program(mlmodel)
        for block in blocks(program):
            for op in block.operations:
                if op.op_type == op_type:
                    edit(op.inputs[parameter].val)
        return write_program(program, mlmodel, {}, skip_model_load=True)

    return change


def stock(model):
    import coremltools as ct

    traced = torch.jit.trace(model.eval(), IMAGE)
    inputs = [ct.TensorType(shape=IMAGE.shape)]
    return ct.convert(traced, inputs=inputs, minimum_deployment_target=ct.target.iOS18, skip_model_load=True)


def test_the_outcome_lists_every_weight(encodings, compress):
    model = compress(
        SmallConvNet(),
        {"second.weight": encodings.palette((8, 4, 3, 3), 4), "unused.weight": encodings.palette((8, 8), 2)},
    )
    outcome = verify(convert(model, IMAGE), model)
    folded = {
        "stored_as": "dense",
        "nbytes": 432,
        "equal": False,
        "result": "equal, with batch norm norm folded into it",
    }
    assert outcome.as_dict() == {
        "first.weight": folded,
        "second.weight": {"stored_as": "4-bit palette", "nbytes": 176, "equal": True, "result": "equal"},
        "fc.weight": {"stored_as": "dense", "nbytes": 160, "equal": True, "result": "equal"},
        "unused.weight": {"stored_as": "", "nbytes": 0, "equal": False, "result": "not used by the program"},
    }
    assert str(outcome).splitlines()[3] == "second.weight  4-bit palette    176  equal"


class Spare(nn.Module):
    """Two layers alike, of which one is never called, and a recurrent one, which is not called either."""

    def __init__(self):
        super().__init__()
        self.used, self.spare, self.memory = nn.Linear(8, 8), nn.Linear(8, 8), nn.GRU(8, 8)

    def forward(self, x):
        return self.used(x)


def test_an_uncompressed_weight_that_is_not_used_is_no_difference():
    model = Spare()
    results = {row.name: row.result for row in verify(convert(model, torch.zeros(1, 8)), model).weights}
    assert results.pop("used.weight") == "equal"
    assert results == dict.fromkeys(
        ("spare.weight", "memory.weight_ih_l0", "memory.weight_hh_l0"), "not used by the program"
    )


def test_a_saved_package_is_verified_from_its_path(encodings, compress, tmp_path):
    model = compress(SmallConvNet(), {"first.weight": encodings.palette(SHAPE, 4)})
    convert(model, IMAGE).save(str(tmp_path / "net.mlpackage"))
    assert verify(tmp_path / "net.mlpackage", model).as_dict()["first.weight"]["equal"] is True


def test_one_changed_look_up_table_entry_is_found(encodings, compress, tampered):
    model = compress(SmallConvNet(), {"first.weight": encodings.palette(SHAPE, 4)})
    package = tampered(convert(model, IMAGE), "constexpr_lut_to_dense", "lut", lambda lut: lut.put(3, lut.flat[3] * 2))
    with pytest.raises(VerificationError, match=r"^first\.weight: \d+ of 216 values differ, the first at index \(0, "):
        verify(package, model)


def test_one_changed_index_is_found(encodings, compress, tampered):
    model = compress(SmallConvNet(), {"first.weight": encodings.palette(SHAPE, 4)})
    lut = model.first.weight.detach().half()

    def edit(indices):
        indices[7, 2, 1, 0] ^= 1

    package = tampered(convert(model, IMAGE), "constexpr_lut_to_dense", "indices", edit)
    with pytest.raises(VerificationError) as caught:
        verify(package, model)
    expected = lut[7, 2, 1, 0].float().item()
    assert str(caught.value).startswith("first.weight: 1 of 216 values differ, the first at index (7, 2, 1, 0): ")
    assert str(caught.value).endswith(f" in the package, {expected!r} in the model (fp16)")


def test_one_moved_mask_bit_is_found(encodings, compress, tampered):
    sparse = Sparse(encodings.mask(*SHAPE), Dense(encodings.normal(*SHAPE)))
    model = compress(SmallConvNet(), {"first.weight": sparse})

    def edit(mask):
        kept, pruned = np.flatnonzero(mask)[0], np.flatnonzero(mask == 0)[0]
        mask.flat[kept], mask.flat[pruned] = 0, 1

    package = tampered(convert(model, IMAGE), "constexpr_sparse_to_dense", "mask", edit)
    with pytest.raises(VerificationError, match=r"^first\.weight: \d+ of 216 values differ"):
        verify(package, model)


def test_one_changed_scale_is_found(encodings, compress, tampered):
    model = compress(SmallConvNet(), {"first.weight": encodings.affine(SHAPE, 8, (8, 1, 1, 1))})

    def edit(scale):
        scale[5] = np.nextafter(scale[5], np.float16(1))

    package = tampered(convert(model, IMAGE), "constexpr_blockwise_shift_scale", "scale", edit)
    with pytest.raises(VerificationError, match=r"^first\.weight: \d+ of 216 values differ, the first at index \(5, "):
        verify(package, model)


def test_a_changed_dense_weight_is_found():
    model = SmallConvNet()
    package = convert(model, IMAGE)
    with torch.no_grad():
        model.fc.weight[2, 3] = 7
    with pytest.raises(VerificationError, match=r"^fc\.weight: 1 of 80 values differ, .* 7\.0 in the model \(fp16\)$"):
        verify(package, model)


def test_a_compressed_weight_that_is_dense_in_the_package_is_refused(encodings, compress):
    model = SmallConvNet()
    package = convert(model, IMAGE)
    compress(model, {"fc.weight": encodings.palette((10, 8), 4)})
    with pytest.raises(VerificationError) as caught:
        verify(package, model)
    assert str(caught.value) == "fc.weight: 4-bit palette in the model, dense in the package"


def test_a_compressed_weight_that_is_missing_is_refused(encodings, compress):
    model = SmallConvNet()
    package = convert(model, IMAGE)
    compress(model, {"first.weight": encodings.palette((8, 3, 3, 3), 4)})
    with pytest.raises(VerificationError) as caught:
        verify(package, model)
    assert str(caught.value) == "first.weight: 4-bit palette in the model, missing from the package"


def test_another_kind_of_compression_is_refused(encodings, compress):
    model = compress(SmallConvNet(), {"fc.weight": encodings.palette((10, 8), 4)})
    package = convert(model, IMAGE)
    compress(model, {"fc.weight": encodings.affine((10, 8), 8, (10, 1))})
    with pytest.raises(VerificationError) as caught:
        verify(package, model)
    assert str(caught.value) == "fc.weight: int8 in the model, 4-bit palette in the package"


def test_an_operation_that_is_recorded_but_gone_is_refused(encodings, compress):
    model = compress(SmallConvNet(), {"fc.weight": encodings.palette((10, 8), 4)})
    package = convert(model, IMAGE)
    package.user_defined_metadata["com.corepress.weights"] = '{"fc.weight": "elsewhere"}'
    with pytest.raises(VerificationError) as caught:
        verify(package, model)
    assert str(caught.value) == "fc.weight: missing from the package, which recorded it as 'elsewhere'"


def test_packages_of_the_stock_converter_are_verified(encodings, compress):
    wanted = {
        "first.weight": encodings.affine(SHAPE, 8, (8, 1, 1, 1)),
        "fc.weight": encodings.palette((10, 8), 4, lut_bits=8),
    }
    model = compress(SmallConvNet(), wanted)
    outcome = verify(stock(model), model).as_dict()
    assert outcome["first.weight"]["equal"] is True
    assert outcome["fc.weight"]["equal"] is True


def test_kept_values_that_the_stock_converter_drops_are_found(encodings, compress):
    sparse = Sparse(encodings.mask(*SHAPE), Dense(encodings.normal(*SHAPE) * 1e-3))
    model = compress(SmallConvNet(), {"first.weight": sparse})
    with pytest.raises(VerificationError, match=r"^first\.weight: .*: 0\.0 in the package"):
        verify(stock(model), model)
    assert verify(convert(model, IMAGE), model).as_dict()["first.weight"]["equal"] is True


def test_a_package_whose_tables_replace_tiny_scales_is_accepted(encodings, compress):
    model = compress(SmallConvNet(), {"fc.weight": encodings.affine((10, 8), 8, (10, 1), size=1e-6)})
    row = verify(convert(model, IMAGE), model).as_dict()["fc.weight"]
    assert (row["stored_as"], row["equal"]) == ("8-bit palette, 10 LUTs", True)


def test_what_is_no_package_is_refused(tmp_path):
    with pytest.raises(ExportError) as caught:
        verify(tmp_path, SmallConvNet())
    assert str(caught.value) == f"{tmp_path} is not an .mlpackage; give the folder that MLModel.save has written"
    with pytest.raises(ExportError) as caught:
        verify(SmallConvNet(), SmallConvNet())
    assert str(caught.value) == "expected an MLModel or the path of an .mlpackage, not SmallConvNet"


def normalized(*, outputs=8):
    model = nn.Sequential(nn.Conv2d(3, outputs, 3, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.Conv2d(8, 8, 3))
    model[1].running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize("change", ["another weight", "one element", "another sign"])
def test_a_dense_weight_that_was_folded_is_compared(change):
    model = normalized()
    package = convert(model, IMAGE)
    assert verify(package, model).as_dict()["0.weight"]["result"] == "equal, with batch norm 1 folded into it"
    other = copy.deepcopy(model)
    with torch.no_grad():
        if change == "another weight":
            other[0].weight.normal_()
        elif change == "one element":
            other[0].weight[0, 0, 0, 0] += 0.1
        else:
            other[0].weight[0, 0, 0, 0] *= -1
    with pytest.raises(VerificationError) as caught:
        verify(package, other)
    assert str(caught.value) == (
        "0.weight: the package holds it neither as it is nor with a batch norm of the model folded into it"
    )


def test_what_is_not_compared_is_counted():
    model = normalized()
    assert str(verify(convert(model, IMAGE), model)).splitlines()[-1] == (
        "2 of 2 weights are equal; 3 other parameters were not compared"
    )


def test_a_weight_that_was_pruned_away_and_palettized_is_equal(encodings, compress):
    palette = encodings.palette(SHAPE, 4)
    model = compress(SmallConvNet(), {"first.weight": Sparse(torch.zeros(SHAPE, dtype=torch.bool), palette)})
    assert verify(convert(model, IMAGE), model).as_dict()["first.weight"]["equal"]


def test_a_damaged_weight_file_is_named(tmp_path):
    model = normalized()
    convert(model, IMAGE).save(str(tmp_path / "net.mlpackage"))
    weights = next(tmp_path.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ExportError, match=r"net\.mlpackage cannot be read, its weight file may be damaged: "):
        verify(tmp_path / "net.mlpackage", model)


def test_weights_too_small_for_half_precision_are_warned_of(encodings, compress):
    palette = encodings.palette(SHAPE, 4)
    tiny = attrs.evolve(palette, lut=Dense(palette.lut.decode() * 1e-8))
    model = compress(SmallConvNet(), {"first.weight": tiny})
    with pytest.warns(PrecisionWarning) as caught:
        convert(model, IMAGE)
    assert str(caught[0].message) == (
        "float16 rounds more than 1% of first.weight away, the values are too small; "
        "pass compute_precision=coremltools.precision.FLOAT32"
    )


class Experts(nn.Module):
    """Weights whose transposition the converter folds; both constants have the shape of the other weight."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(3, 24, 16)), nn.Parameter(torch.randn(3, 16, 24))

    def forward(self, x):
        return (x[None] @ self.up.transpose(1, 2) @ self.down.transpose(1, 2)).sum(0)


def test_a_transposed_weight_is_found():
    model = nn.Sequential(Experts())
    inputs = torch.randn(4, 16)
    package = convert(model, inputs)
    assert {row.name: row.result for row in verify(package, model, inputs).weights} == dict.fromkeys(
        ("0.up", "0.down"), "equal, with two axes exchanged"
    )
    stage = Stage("kmeans", {"module_name_configs": {"0.up": {"n_bits": 4}}})
    assert [row.shape for row in Pipeline([stage]).plan(package).done] == [(3, 16, 24)]


def test_a_weight_that_is_a_plain_tensor_is_exported_and_found():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    values = model[0].weight.detach()
    del model[0].weight
    model[0].weight = values
    inputs = torch.randn(2, 8)
    assert all(row.equal for row in verify(convert(model, inputs), model, inputs).weights)
    small = Pipeline([Stage("rtn", {"global_config": {"weight_threshold": 0}})]).compress(model)
    rows = verify(convert(small, inputs), small, inputs).weights
    assert [(row.stored_as, row.result) for row in rows] == [("int8", "equal")] * 2
    assert "weight" not in small[0]._parameters


def test_odd_arguments_are_named():
    package = convert(nn.Sequential(nn.Linear(8, 8)), torch.ones(1, 8))
    sparse = nn.Sequential(nn.Linear(8, 8))
    sparse[0].weight = nn.Parameter(torch.eye(8).to_sparse(), requires_grad=False)
    for refuse in (lambda: verify(package, sparse), lambda: convert(sparse, torch.ones(1, 8))):
        with pytest.raises(ExportError, match=r"0.weight: its layout is torch.sparse_coo"):
            refuse()
    with pytest.raises(ExportError, match="tolerance must be 0 or more, not 'x'"):
        verify(package, nn.Sequential(nn.Linear(8, 8)), tolerance="x")
    with pytest.raises(ExportError, match=r"expected the path of an .mlpackage to write, not int"):
        save(package, 3)
    package.user_defined_metadata["com.corepress.weights"] = "[" * 100_000
    with pytest.raises(ExportError, match=r"the package's record 'com.corepress.weights' is damaged"):
        verify(package, nn.Sequential(nn.Linear(8, 8)))
