"""Every cell of the table of compositions: what the weight is now, and what the next stage does."""

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.encoding import (
    KIND_OF_PRODUCT,
    Affine,
    AffineForm,
    CompositionError,
    Dense,
    OpaqueForm,
    PaletteForm,
    Palettized,
    Sparse,
    SparseForm,
    WeightEncoding,
    compose,
    compose_forms,
    slot_for,
)

SHAPE = (4, 6)


def sparsified(slot):
    mask = slot.values.abs() > slot.values.abs().flatten().kthvalue(14).values
    return Sparse(mask if slot.mask is None else mask & slot.mask, Dense(slot.values))


def palettized(slot, groups=(1, 1), lut_bits=None):
    low, high = slot.values.min(), slot.values.max()
    entries = torch.linspace(0, 1, 4) * (high - low) + low
    indices = (slot.values[..., None] - entries).abs().argmin(dim=-1).to(torch.uint8)
    lut = entries.expand(*groups, 4).reshape(*groups, 4, 1)
    return Palettized(indices, Dense(lut), 2)


def quantized(slot, scales=None):
    ones = (1,) * slot.values.ndim
    scale = (slot.values.abs().max() / 127).reshape(ones).expand(scales or ones).contiguous()
    return Affine((slot.values / scale.amax()).round().clamp(-127, 127).to(torch.int8), scale)


STAGES = {
    "sparsity": sparsified,
    "palette": palettized,
    "affine": quantized,
    "dense": lambda slot: Dense(slot.values * 2),
}


def structure(encoding):
    match encoding:
        case Sparse():
            return f"Sparse({structure(encoding.payload)})"
        case Palettized():
            return "Palettized" if isinstance(encoding.lut, Dense) else f"Palettized[{structure(encoding.lut)}]"
    return type(encoding).__name__


def applied(now, produces):
    slot = slot_for(now, produces)
    new = STAGES[produces](slot)
    return slot, new, slot.rebuild(new)


@pytest.fixture
def starts(make):
    palette = attrs.evolve(make.palette(SHAPE, 2), lut=Dense(torch.tensor([-2.0, -1.0, 1.0, 2.0]).reshape(1, 1, 4, 1)))
    affine = Affine(make.integers(1, 100, SHAPE, torch.int8), make.normal(4, 1).abs() + 0.1)
    mask = make.mask(SHAPE, 0.7)
    return {
        "Dense": make.dense(SHAPE),
        "Sparse(Dense)": Sparse(mask, make.dense(SHAPE)),
        "Palettized": palette,
        "Affine": affine,
        "Palettized[Affine]": compose(palette, "affine", quantized(slot_for(palette, "affine"))),
        "Sparse(Palettized)": Sparse(mask, palette),
        "Sparse(Affine)": Sparse(mask, affine),
    }


CELLS = [
    ("Dense", "sparsity", "Sparse(Dense)"),
    ("Dense", "palette", "Palettized"),
    ("Dense", "affine", "Affine"),
    ("Dense", "dense", "Dense"),
    ("Sparse(Dense)", "sparsity", "Sparse(Dense)"),
    ("Sparse(Dense)", "palette", "Sparse(Palettized)"),
    ("Sparse(Dense)", "affine", "Sparse(Affine)"),
    ("Sparse(Dense)", "dense", "Sparse(Dense)"),
    ("Palettized", "sparsity", "Sparse(Palettized)"),
    ("Palettized", "affine", "Palettized[Affine]"),
    ("Palettized[Affine]", "sparsity", "Sparse(Palettized[Affine])"),
    ("Affine", "sparsity", "Sparse(Affine)"),
    ("Affine", "palette", "Palettized[Affine]"),
    ("Sparse(Palettized)", "sparsity", "Sparse(Palettized)"),
    ("Sparse(Palettized)", "affine", "Sparse(Palettized[Affine])"),
    ("Sparse(Affine)", "sparsity", "Sparse(Affine)"),
    ("Sparse(Affine)", "palette", "Sparse(Palettized[Affine])"),
]


@pytest.mark.parametrize(("now", "produces", "result"), CELLS)
def test_a_legal_cell_gives_its_kind(starts, now, produces, result):
    _, _, composed = applied(starts[now], produces)
    assert structure(composed) == result
    assert composed.shape == SHAPE
    assert composed == composed.canonical()


@pytest.mark.parametrize(("now", "produces", "result"), CELLS)
def test_the_predicted_form_is_that_of_the_result(starts, now, produces, result):
    _, new, composed = applied(starts[now], produces)
    assert compose_forms(starts[now].form, produces, new.form) == composed.form


@pytest.mark.parametrize(("now", "produces", "result"), [cell for cell in CELLS if "Sparse" in cell[0]])
def test_exact_zeros_survive_every_stage(starts, now, produces, result):
    _, _, composed = applied(starts[now], produces)
    assert not composed.decode()[~starts[now].mask].any()


@pytest.mark.parametrize(
    "now",
    ["Dense", "Sparse(Dense)", "Palettized", "Palettized[Affine]", "Affine", "Sparse(Palettized)", "Sparse(Affine)"],
)
def test_pruning_leaves_what_it_keeps_as_it_was(starts, now):
    _, new, composed = applied(starts[now], "sparsity")
    assert torch.equal(composed.decode(), starts[now].decode().where(new.mask, 0.0))


@pytest.mark.parametrize("now", ["Sparse(Dense)", "Sparse(Affine)"])
@pytest.mark.parametrize("produces", ["palette", "affine", "sparsity", "dense"])
def test_stages_see_the_mask_of_kept_values(starts, now, produces):
    if (now, produces) in {("Sparse(Affine)", "affine"), ("Sparse(Affine)", "dense")}:
        with pytest.raises(CompositionError):
            slot_for(starts[now], produces)
        return
    slot = slot_for(starts[now], produces)
    assert torch.equal(slot.mask, starts[now].mask)
    assert slot.whole


@pytest.mark.parametrize("now", ["Palettized", "Sparse(Palettized)"])
def test_the_slot_of_a_palette_is_its_table(starts, now):
    slot = slot_for(starts[now], "affine")
    assert slot.values.shape == (1, 1, 4, 1)
    assert slot.mask is None
    assert not slot.whole


def test_composing_fills_the_slot(make):
    now, new = make.sparse(SHAPE), make.palette(SHAPE)
    composed = compose(now, "palette", new)
    assert composed == slot_for(now, "palette").rebuild(new)
    assert torch.equal(composed.decode(), new.decode().where(now.mask, 0.0))


@pytest.mark.parametrize(("produces", "kind"), KIND_OF_PRODUCT.items())
def test_what_a_stage_produces_has_this_kind(make, produces, kind):
    assert STAGES[produces](slot_for(make.dense(SHAPE), produces)).kind == kind


def test_error_compensation_may_change_dense_kept_values(starts):
    now = starts["Sparse(Dense)"]
    new = Sparse(now.mask, Dense(now.decode() * 3))
    assert torch.equal(compose(now, "sparsity", new).decode(), now.decode() * 3)


def test_error_compensation_cannot_change_coded_values(starts):
    now = starts["Sparse(Affine)"]
    new = Sparse(now.mask, Dense(now.decode() * 3))
    assert compose(now, "sparsity", new) == now


def test_values_that_become_zero_leave_the_mask():
    now = Sparse(torch.tensor([[True, True, False]]), Dense(torch.tensor([[0.001, 1.0, 0.0]])))
    new = Affine(torch.tensor([[0, 10, 0]], dtype=torch.int8), torch.tensor([[0.1]]))
    composed = compose(now, "affine", new)
    assert composed.mask.tolist() == [[False, True, False]]


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize(
    ("groups", "scales", "tables"),
    [
        ((1, 1), (1, 1), (1, 1)),
        ((1, 1), (4, 1), (4, 1)),
        ((2, 1), (4, 1), (4, 1)),
        ((1, 2), (4, 1), (4, 2)),
        ((1, 2), (4, 3), (4, 6)),
        ((4, 1), (1, 1), (4, 1)),
    ],
)
def test_clustered_integers_keep_their_scales(make, groups, scales, tables, zero_points):
    now = make.affine(SHAPE, 4, scales, zero_points=zero_points)
    palette = make.palette(SHAPE, 2, groups)
    entries = make.integers(-8, 8, (*groups, 4, 1), torch.int8).to(torch.float32)
    new = attrs.evolve(palette, lut=Dense(entries))
    composed = compose(now, "palette", new)
    assert composed.groups == tables
    assert torch.equal(composed.decode(), attrs.evolve(now, data=new.decode().to(torch.int8)).decode())
    assert compose_forms(now.form, "palette", new.form) == composed.form


def test_centroids_of_integers_become_integers():
    now = Affine(torch.tensor([[-7, 7, 3, 4]], dtype=torch.int8), torch.tensor([[0.5]]), n_bits=4)
    lut = torch.tensor([-9.0, 3.4, 7.0, 12.0]).reshape(1, 1, 4, 1)
    new = Palettized(torch.tensor([[0, 2, 1, 1]], dtype=torch.uint8), Dense(lut), 2)
    composed = compose(now, "palette", new)
    assert composed.lut.data.flatten().tolist() == [-8, 3, 7, 7]
    assert composed.decode().tolist() == [[-4.0, 3.5, 1.5, 1.5]]


def test_without_a_known_grid_the_prediction_takes_the_common_multiple():
    predicted = compose_forms(AffineForm(8, scales=64), "palette", PaletteForm(4, groups=2))
    assert predicted == PaletteForm(4, groups=64, lut=AffineForm(8, scales=64))


ALREADY = "it is palettized already; palettize once, with the n_bits you want"
REFUSED = [
    ("Palettized", "palette", ALREADY),
    ("Sparse(Palettized)", "palette", ALREADY),
    ("Palettized[Affine]", "palette", ALREADY),
    ("Palettized", "dense", "it is palettized already; change values before palettizing"),
    ("Palettized[Affine]", "dense", "it is palettized already; change values before palettizing"),
    ("Sparse(Palettized)", "dense", "it is palettized already; change values before palettizing"),
    ("Affine", "affine", "it is quantized already; quantize once, with the dtype you want"),
    ("Sparse(Affine)", "affine", "it is quantized already; quantize once, with the dtype you want"),
    ("Affine", "dense", "it is quantized already; change values before quantizing"),
    ("Sparse(Affine)", "dense", "it is quantized already; change values before quantizing"),
    (
        "Palettized[Affine]",
        "affine",
        "its LUT is quantized already; leave lut_dtype out, or drop the later quantization",
    ),
    ("Dense", "wavelet", "nothing that produces 'wavelet' can follow what is stored as dense"),
]


@pytest.mark.parametrize(("now", "produces", "reason"), REFUSED)
def test_a_refused_cell_says_why_and_what_to_do(starts, now, produces, reason):
    for attempt in (
        lambda: slot_for(starts[now], produces),
        lambda: compose_forms(starts[now].form, produces, starts["Dense"].form),
    ):
        with pytest.raises(CompositionError) as caught:
            attempt()
        assert str(caught.value) == reason


def test_together_the_cells_are_the_whole_table(starts):
    told = {cell[:2] for cell in CELLS} | {cell[:2] for cell in REFUSED[:-1]}
    assert told == {(now, produces) for now in starts for produces in STAGES}


VECTORS = "a palette of vectors cannot hold single zeros; use cluster_dim 1"


def test_vectors_cannot_be_pruned(make):
    palette = make.palette(SHAPE, axis=0, dim=2)
    for attempt in (
        lambda: slot_for(palette, "sparsity"),
        lambda: compose_forms(palette.form, "sparsity", SparseForm(0.5)),
        lambda: compose_forms(SparseForm(0.5), "palette", palette.form),
        lambda: compose(make.sparse(SHAPE), "palette", palette),
    ):
        with pytest.raises(CompositionError) as caught:
            attempt()
        assert str(caught.value) == VECTORS


@pytest.mark.parametrize(
    ("layout", "reason"),
    [
        ({"scale": (4, 1)}, "integers take a palette without a scale of its own; turn enable_per_channel_scale off"),
        (
            {"axis": 0, "dim": 2},
            "a palette of vectors needs integers of one scale; quantize per_tensor, or use cluster_dim 1",
        ),
    ],
)
def test_a_palette_that_cannot_hold_integers_is_refused(make, layout, reason):
    now, new = make.affine(SHAPE, 8, (4, 1)), make.palette(SHAPE, 2, **layout)
    for attempt in (
        lambda: compose(now, "palette", new),
        lambda: compose_forms(now.form, "palette", new.form),
    ):
        with pytest.raises(CompositionError) as caught:
            attempt()
        assert str(caught.value) == reason


def test_vectors_of_integers_of_one_scale_are_fine(make):
    now = make.affine(SHAPE, 4)
    new = attrs.evolve(
        make.palette(SHAPE, 2, axis=0, dim=2),
        lut=Dense(make.integers(-8, 8, (1, 1, 4, 2), torch.int8).to(torch.float32)),
    )
    composed = compose(now, "palette", new)
    assert torch.equal(composed.decode(), new.decode() * now.scale)
    assert compose_forms(now.form, "palette", new.form) == composed.form


@pytest.mark.parametrize(
    ("now", "produces", "reason"),
    [
        ("Palettized", "sparsity", "a stage that declares sparsity returned a dense encoding instead of a Sparse one"),
        (
            "Sparse(Dense)",
            "sparsity",
            "a stage that declares sparsity returned a dense encoding instead of a Sparse one",
        ),
        ("Affine", "palette", "a stage that declares palette returned a dense encoding instead of a Palettized one"),
    ],
)
def test_a_stage_that_returns_something_else_is_told(starts, now, produces, reason):
    with pytest.raises(CompositionError) as caught:
        compose(starts[now], produces, starts["Dense"])
    assert str(caught.value) == reason


@attrs.frozen(eq=False)
class Wavelets(WeightEncoding):
    kind = "wavelets"
    form = OpaqueForm("wavelets", 5)
    shape = SHAPE

    def decode(self):
        return torch.ones(SHAPE)


def test_nothing_follows_an_encoding_that_only_its_plugin_understands():
    with pytest.raises(CompositionError) as caught:
        slot_for(Wavelets(), "affine")
    assert str(caught.value) == "nothing that produces 'affine' can follow what is stored as wavelets"


def test_an_encoding_of_a_plugin_may_come_first(make):
    assert compose(make.dense(SHAPE), "dense", Wavelets()) == Wavelets()


@given(st.lists(st.sampled_from(["sparsity", "palette", "affine"]), max_size=4), st.integers(0, 99))
def test_along_every_chain_zeros_stay_and_forms_are_foreseen(chain, seed):
    now = Dense(torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) + 9)
    for produces in chain:
        try:
            _, new, composed = applied(now, produces)
        except CompositionError:
            return
        predicted = compose_forms(now.form, produces, new.form)
        assert not composed.decode()[now.decode() == 0].any()
        assert type(predicted) is type(composed.form)
        assert composed.nbytes() <= predicted.nbytes(24, "iOS18")
        now = composed
