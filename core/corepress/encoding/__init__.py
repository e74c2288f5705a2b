"""What a weight becomes: immutable encodings, their storage forms, and how they compose."""

from corepress.encoding.affine import Affine
from corepress.encoding.base import WeightEncoding
from corepress.encoding.bits import pack_bits, packed_nbytes, unpack_bits
from corepress.encoding.composition import (
    KIND_OF_PRODUCT,
    CompositionError,
    Slot,
    compose,
    compose_forms,
    keeps_promise,
    part_shape,
    slot_for,
)
from corepress.encoding.dense import Dense
from corepress.encoding.forms import AffineForm, DenseForm, Form, OpaqueForm, PaletteForm, SparseForm
from corepress.encoding.palettized import Palettized, folded_grid, integer_lut
from corepress.encoding.precision import PORTABLE_SIGNIFICAND_BITS, portable_scale, round_significand
from corepress.encoding.sparse import Sparse

__all__ = [
    "KIND_OF_PRODUCT",
    "PORTABLE_SIGNIFICAND_BITS",
    "Affine",
    "AffineForm",
    "CompositionError",
    "Dense",
    "DenseForm",
    "Form",
    "OpaqueForm",
    "PaletteForm",
    "Palettized",
    "Slot",
    "Sparse",
    "SparseForm",
    "WeightEncoding",
    "compose",
    "compose_forms",
    "folded_grid",
    "integer_lut",
    "keeps_promise",
    "pack_bits",
    "packed_nbytes",
    "part_shape",
    "portable_scale",
    "round_significand",
    "slot_for",
    "unpack_bits",
]
