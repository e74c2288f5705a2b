"""The form that an encoding has in a package of half precision, where that is not its own."""

import attrs

from corepress.encoding.affine import Affine
from corepress.encoding.base import WeightEncoding
from corepress.encoding.forms import DenseForm, Form, PaletteForm
from corepress.encoding.palettized import Palettized
from corepress.encoding.precision import is_portable
from corepress.encoding.sparse import Sparse


def packaged_form(encoding: WeightEncoding) -> Form:
    """Return the form in a package.

    Scales with more digits than half precision holds are multiplied into look-up tables, one for each scale: so the
    values are rounded once, and the package is exact, but larger.
    """
    match encoding:
        case Sparse():
            return attrs.evolve(encoding.form, payload=packaged_form(encoding.payload).as_part())
        case Palettized(lut=Affine() as table) if not is_portable(table.scale):
            return attrs.evolve(encoding.form, lut=DenseForm())
        case Affine() if not is_portable(encoding.scale):
            form = encoding.form
            return PaletteForm(n_bits=form.n_bits, groups=form.scales, grid=form.grid)
    return encoding.form
