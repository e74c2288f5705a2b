"""How a next stage composes with what a weight already is: one table, for the plan and for the values."""

import math
from collections.abc import Callable, Iterable

import attrs
import torch
from torch import Tensor

from corepress.encoding.affine import Affine
from corepress.encoding.base import WeightEncoding
from corepress.encoding.dense import Dense
from corepress.encoding.forms import BUILT_IN_FORMS, AffineForm, DenseForm, Form, PaletteForm, SparseForm
from corepress.encoding.palettized import Palettized, integer_lut
from corepress.encoding.precision import round_significand
from corepress.encoding.sparse import Sparse

KIND_OF_PRODUCT = {"sparsity": "sparse", "palette": "palettized", "affine": "affine", "dense": "dense"}
"""The kind of the encoding that a stage returns, by what it declares to produce."""


def keeps_promise(kind: str, produces: str) -> bool:
    """Tell whether an encoding or a form is of the kind that its stage declares; a dense weight may be of any."""
    return produces == "dense" or kind == KIND_OF_PRODUCT[produces]


class CompositionError(ValueError):
    """The next stage cannot follow what the weight already is; the message says why and names a legal order."""


@attrs.frozen(eq=False)
class Slot:
    """The part of an encoded weight that a next stage may encode.

    `values` (float32) and `mask` (bool or None) are what the stage sees; `rebuild` puts its encoding into the whole.
    """

    values: Tensor
    mask: Tensor | None
    rebuild: Callable[[WeightEncoding], WeightEncoding]
    whole: bool = True


def slot_for(now: WeightEncoding, produces: str) -> Slot:
    """Return the slot of `now` that a stage encodes which produces `sparsity`, `palette`, `affine` or `dense` values.

    What its `rebuild` returns is canonical. Raises CompositionError when no such stage can follow.
    """
    slot = _cell(now.form, produces).slot(now)
    return attrs.evolve(slot, rebuild=lambda new: slot.rebuild(new).canonical())


def compose(now: WeightEncoding, produces: str, new: WeightEncoding) -> WeightEncoding:
    """Return what a weight encoded as `now` becomes when a stage has encoded its slot as `new`.

    `produces` is what the stage declares, as for `slot_for`. Raises CompositionError when no such stage can follow, or
    when `new` is nothing that such a stage returns.
    """
    return slot_for(now, produces).rebuild(new)


def compose_forms(now: Form, produces: str, new: Form) -> Form:
    """Return the form of a weight of form `now` after a stage whose own result has form `new`.

    Kept values that the stage turns into zeros are not foreseen. Raises CompositionError when the stage cannot follow.
    """
    return _cell(now, produces).form(now, new)


def part_shape(now: Form, produces: str) -> tuple[int, ...] | None:
    """Return the shape of what a stage sees when its slot is only a part of the weight: the look-up table."""
    if isinstance(now, SparseForm):
        return part_shape(now.payload, produces)
    if isinstance(now, PaletteForm) and produces == "affine" and now.grid:
        return (*now.grid, 2**now.n_bits, now.cluster_dim)
    return None


@attrs.frozen
class _Cell:
    slot: Callable[..., Slot]
    form: Callable[..., Form]


def _replaced(now: WeightEncoding) -> Slot:
    return Slot(now.decode(), None, lambda new: new)


def _masked_by_next(now: WeightEncoding) -> Slot:
    def rebuild(new: WeightEncoding) -> WeightEncoding:
        return Sparse(_mask_of(new), now)

    return Slot(now.decode(), None, rebuild)


def _smaller_mask(now: Sparse) -> Slot:
    def rebuild(new: WeightEncoding) -> WeightEncoding:
        # A dense payload may be changed by the next stage (error compensation); a coded one keeps its codes.
        payload = new.payload if isinstance(new, Sparse) and isinstance(now.payload, Dense) else now.payload
        return Sparse(now.mask & _mask_of(new), payload)

    return Slot(now.decode(), now.mask, rebuild)


def _kept_values(produces: str) -> Callable[[Sparse], Slot]:
    def slot(now: Sparse) -> Slot:
        inner = slot_for(now.payload, produces)

        def rebuild(new: WeightEncoding) -> WeightEncoding:
            _check_single_zeros(new.form)
            return Sparse(now.mask, inner.rebuild(new))

        return Slot(inner.values, now.mask if inner.whole else None, rebuild, whole=inner.whole)

    return slot


def _quantized_lut(now: Palettized) -> Slot:
    def rebuild(new: WeightEncoding) -> WeightEncoding:
        if now.scale is None or not isinstance(new, Affine) or new.scale.numel() > 1:
            return attrs.evolve(now, lut=new)
        # Under a scale a package rounds twice. A table in steps of a power of two is not rounded at all, and the rest
        # of the step goes to the scale.
        _, exponent = torch.frexp(new.scale)
        step = torch.ldexp(torch.ones_like(new.scale), exponent)
        scale = round_significand(now.scale * (new.scale / step).reshape(()))
        return attrs.evolve(now, lut=attrs.evolve(new, scale=step), scale=scale)

    return Slot(now.lut.decode(), None, rebuild, whole=False)


def _clustered_integers(now: Affine) -> Slot:
    def rebuild(new: WeightEncoding) -> WeightEncoding:
        if not isinstance(new, Palettized):
            raise CompositionError(
                f"a stage that declares palette returned a {new.kind} encoding instead of a Palettized one"
            )
        _check_palette_over_integers(now.form, new.form)
        return _integer_lut(new, now)

    return Slot(now.data.to(torch.float32), None, rebuild)


def _integer_lut(palette: Palettized, affine: Affine) -> Palettized:
    """Move the scales of `affine` onto a LUT of rounded integers, with one LUT for each pair of group and scale."""
    low, high = affine.bounds
    entries = palette.lut.decode().round().clamp(low, high).to(affine.data.dtype)
    return attrs.evolve(palette, lut=integer_lut(entries, affine.scale, affine.zero_point, affine.n_bits))


def _mask_of(new: WeightEncoding) -> Tensor:
    if not isinstance(new, Sparse):
        raise CompositionError(f"a stage that declares sparsity returned a {new.kind} encoding instead of a Sparse one")
    return new.mask


def _new_form(now: Form, new: Form) -> Form:  # noqa: ARG001
    return new


def _sparse_over(now: Form, new: SparseForm) -> Form:
    return SparseForm(new.sparsity, now)


def _sparser(now: SparseForm, new: SparseForm) -> Form:
    payload = new.payload if isinstance(now.payload, DenseForm) else now.payload
    return SparseForm(max(now.sparsity, new.sparsity), payload)


def _kept_form(produces: str) -> Callable[[SparseForm, Form], Form]:
    def form(now: SparseForm, new: Form) -> Form:
        _check_single_zeros(new)
        return SparseForm(now.sparsity, compose_forms(now.payload, produces, new))

    return form


def _lut_form(now: PaletteForm, new: Form) -> Form:
    return attrs.evolve(now, lut=new)


def _integer_lut_form(now: AffineForm, new: PaletteForm) -> Form:
    _check_palette_over_integers(now, new)
    if not (now.grid and new.grid):
        groups = math.lcm(new.groups, now.scales)
        return attrs.evolve(new, groups=groups, grid=(), lut=attrs.evolve(now, scales=groups, blockwise=False, grid=()))
    grid = _common_grid(new.grid, now.grid)
    groups = math.prod(grid)
    lut = attrs.evolve(now, scales=groups, blockwise=sum(n > 1 for n in grid) > 1, grid=(*grid, 1, 1))
    return attrs.evolve(new, groups=groups, grid=grid, lut=lut)


def _common_grid(groups: Iterable[int], scales: Iterable[int]) -> tuple[int, ...]:
    """Return the coarsest grid of which both are unions of cells; both divide the shape, so it does, too."""
    return tuple(math.lcm(g, s) for g, s in zip(groups, scales, strict=True))


def _check_palette_over_integers(integers: AffineForm, palette: PaletteForm) -> None:
    if palette.scales:
        raise CompositionError("integers take a palette without a scale of its own; turn enable_per_channel_scale off")
    if palette.cluster_dim > 1 and integers.scales > 1:
        raise CompositionError(
            "a palette of vectors needs integers of one scale; quantize per_tensor, or use cluster_dim 1"
        )


def _check_single_zeros(form: Form) -> None:
    if not isinstance(form, BUILT_IN_FORMS) and not form.takes("sparsity"):
        raise CompositionError(
            f"what is stored as {form.describe()} cannot hold single zeros: its form does not take sparsity"
        )
    if isinstance(form, PaletteForm) and form.cluster_dim > 1:
        raise CompositionError("a palette of vectors cannot hold single zeros; use cluster_dim 1")


_WHOLE = _Cell(_replaced, _new_form)
_TABLE: dict[tuple[str, str], _Cell] = {
    ("dense", "sparsity"): _WHOLE,
    ("dense", "palette"): _WHOLE,
    ("dense", "affine"): _WHOLE,
    ("dense", "dense"): _WHOLE,
    ("sparse", "sparsity"): _Cell(_smaller_mask, _sparser),
    ("sparse", "palette"): _Cell(_kept_values("palette"), _kept_form("palette")),
    ("sparse", "affine"): _Cell(_kept_values("affine"), _kept_form("affine")),
    ("sparse", "dense"): _Cell(_kept_values("dense"), _kept_form("dense")),
    ("palettized", "sparsity"): _Cell(_masked_by_next, _sparse_over),
    ("palettized", "affine"): _Cell(_quantized_lut, _lut_form),
    ("affine", "sparsity"): _Cell(_masked_by_next, _sparse_over),
    ("affine", "palette"): _Cell(_clustered_integers, _integer_lut_form),
}
_REFUSALS = {
    ("palettized", "palette"): "it is palettized already; palettize once, with the n_bits you want",
    ("palettized", "dense"): "it is palettized already; change values before palettizing",
    ("affine", "affine"): "it is quantized already; quantize once, with the dtype you want",
    ("affine", "dense"): "it is quantized already; change values before quantizing",
}


def _cell(now: Form, produces: str) -> _Cell:
    key = (now.kind, produces)
    if isinstance(now, PaletteForm):
        if produces == "sparsity":
            _check_single_zeros(now)
        if produces == "affine" and not isinstance(now.lut, DenseForm):
            raise CompositionError("its LUT is quantized already; leave lut_dtype out, or drop the later quantization")
    if not isinstance(now, BUILT_IN_FORMS):
        if produces == "sparsity" and now.takes(produces):
            return _Cell(_masked_by_next, _sparse_over)
    elif key in _TABLE:
        return _TABLE[key]
    reason = _REFUSALS.get(key, f"nothing that produces {produces!r} can follow what is stored as {now.describe()}")
    raise CompositionError(reason)
