"""Matching: which weight of a package is which weight of the model."""

import itertools
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from corepress.coreml.read import PackageWeight
from corepress.coreml.storage.parsing import rounding_of
from corepress.errors import VerificationError

# What the converter and the compression tools append to the names of constants.
_SUFFIX = re.compile(r"(_to_fp16|_cast_fp16|_quantized|_palettized|_sparsified)+$")
_COUNTER = re.compile(r"_\d+$")


def stem_of(name: str) -> str:
    """Return the name of a constant without what the converter and the compression tools have appended."""
    return _SUFFIX.sub("", name)


def sanitized(name: str) -> str:
    """Return a name as the converter of coremltools spells it in a program."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


class PackageWeights:
    """The weights of a package, found by recorded operation name or by the converter's naming of parameters."""

    def __init__(self, weights: Iterable[PackageWeight], placed: Mapping[str, str]) -> None:
        self._by_name = {weight.name: weight for weight in weights}
        self._placed = placed
        self._by_stem: dict[str, list[PackageWeight]] = {}
        for weight in self._by_name.values():
            stem = stem_of(weight.name)
            for key in {stem, _COUNTER.sub("", stem)}:
                self._by_stem.setdefault(key, []).append(weight)

    def find(self, names: tuple[str, ...]) -> PackageWeight | None:
        """Return the weight that any of the tied names leads to, None when there is no such weight.

        Raises VerificationError when the package records an operation that it no longer has.
        """
        for name in names:
            recorded = self._placed.get(name)
            if recorded is not None:
                return self.called(name, recorded)
        for name in names:
            stem = sanitized(name)
            # A name must not begin with a digit; the converter puts something before it.
            found = [weight for prefix in ("", "_", "op_", "var_") for weight in self._by_stem.get(prefix + stem, [])]
            if found:
                # The parameter itself has the shortest name; others were made of it.
                return min(found, key=lambda weight: (not weight.compressed, len(weight.name)))
        return None

    def called(self, weight: str, recorded: str) -> PackageWeight:
        """Return the weight that a package recorded by the name of its operation.

        Raises VerificationError when the package no longer has the operation.
        """
        if recorded not in self._by_name:
            raise VerificationError(f"{weight}: missing from the package, which recorded it as {recorded!r}")
        return self._by_name[recorded]

    def dense_of_shape(self, shape: tuple[int, ...]) -> list[PackageWeight]:
        """Return the uncompressed constants of a shape."""
        return [weight for weight in self._by_name.values() if not weight.compressed and weight.shape == shape]

    def find_turned(self, values: Tensor) -> PackageWeight | None:
        """Return a constant that is `values` with two axes exchanged, as folding a transposition leaves it."""
        for axes in itertools.combinations(range(values.ndim), 2):
            turned = values.transpose(*axes)
            for weight in self.dense_of_shape(tuple(turned.shape)):
                if torch.equal(weight.value, rounding_of(weight.var)(turned)):
                    return weight
        return None

    def find_rescaled(self, values: Tensor, output_axis: int) -> PackageWeight | None:
        """Return a constant that is `values` with each output channel rescaled, as folding a constant leaves it."""
        for weight in self.dense_of_shape(tuple(values.shape)):
            if _is_rescaled(weight.value, values, output_axis):
                return weight
        return None


def _is_rescaled(candidate: Tensor, values: Tensor, output_axis: int) -> bool:
    rows = values.double().movedim(output_axis, 0).flatten(1)
    found = candidate.double().movedim(output_axis, 0).flatten(1)
    factors = (rows * found).sum(1, keepdim=True) / rows.square().sum(1, keepdim=True).clamp_min(1e-300)
    # One rounding to float16 of the product, and a factor that is known to no better precision.
    tolerance = found.abs() * 2.0**-9 + 2.0**-23
    return bool(torch.all((rows * factors - found).abs() <= tolerance))
