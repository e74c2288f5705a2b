"""Pairing: which weight, or layer, of one package is which of another package of the same model."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

from corepress.coreml.fidelity import Fidelity, fidelity
from corepress.coreml.match import stem_of
from corepress.coreml.read import PackageWeight
from corepress.errors import ExportError

T = TypeVar("T")
_PREFIX = re.compile(r"^(var_|op_|_)(?=\d)")


def paired(a: Mapping[str, T], b: Mapping[str, T]) -> list[tuple[T, T]]:
    """Return what both have, in the order of `a`: by name, or else by a stem that is that of no other name."""
    here, there = _by_stem(a.keys() - b.keys()), _by_stem(b.keys() - a.keys())
    found = {name: there[stem] for stem, name in here.items() if stem in there}
    found |= {name: name for name in a if name in b}
    return [(value, b[found[name]]) for name, value in a.items() if name in found]


def _by_stem(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are the only ones of their stem, by stem."""
    # Compression tools also change what stands before a number that a name would begin with.
    stems = {name: _PREFIX.sub("", stem_of(name)) for name in names}
    counts = Counter(stems.values())
    return {stem: name for name, stem in stems.items() if counts[stem] == 1}


def weight_fidelity(reference: PackageWeight, found: PackageWeight) -> Fidelity | None:
    """Return how close one weight is to another, None for other shapes and for constants that cannot be decoded."""
    if reference.shape != found.shape:
        return None
    try:
        return fidelity(reference.value.numpy(), found.value.numpy())
    except ExportError:
        return None
