"""What a package says about its own making, in its user-defined metadata under `com.corepress.*`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

PREFIX = "com.corepress."
_WEIGHTS, _PARTS, _UNUSED, _ORIGINS = (f"{PREFIX}{name}" for name in ("weights", "parts", "unused", "origins"))

Parts = Mapping[str, Mapping[str, Sequence[int]]]
"""The operations that hold parts of a weight, by weight, each with its parts in their order."""


def metadata_for(
    placed: Mapping[str, str],
    parts: Parts,
    unused: list[str],
    origins: Mapping[str, Sequence[str]],
    provenance: Mapping[str, str],
) -> dict[str, str]:
    """Return the metadata: compressed weights and their parts, unused ones, constants of each weight, provenance."""
    entries = {key if key.startswith(PREFIX) else PREFIX + key: str(value) for key, value in provenance.items()}
    records: dict[str, Any] = {_WEIGHTS: dict(placed), _UNUSED: unused, _ORIGINS: dict(origins)}
    if parts:
        records[_PARTS] = parts
    return entries | {key: json.dumps(record) for key, record in records.items()}


def placed_weights(mlmodel: Any) -> dict[str, str]:
    """Return the operation names by weight name that `convert` has recorded; empty for packages of other makers."""
    recorded: dict[str, str] = json.loads(mlmodel.user_defined_metadata.get(_WEIGHTS, "{}"))
    return recorded


def torch_names(mlmodel: Any) -> dict[str, tuple[str, ...]]:
    """Return, by the name of the constant, what the weights that `convert` has recorded were called in torch."""
    recorded: dict[str, str | list[str]] = json.loads(mlmodel.user_defined_metadata.get(_ORIGINS, "{}"))
    found: dict[str, tuple[str, ...]] = {}
    for record in (placed_weights(mlmodel), parts_of_weights(mlmodel), recorded):
        for weight, ops in record.items():
            for op in [ops] if isinstance(ops, str) else ops:
                found[op] = tuple(dict.fromkeys((*found.get(op, ()), weight)))
    return found


def parts_of_weights(mlmodel: Any) -> Parts:
    """Return which operations hold which parts of a weight, for the weights that `convert` found reordered or apart."""
    recorded: Parts = json.loads(mlmodel.user_defined_metadata.get(_PARTS, "{}"))
    return recorded


def is_ours(mlmodel: Any) -> bool:
    """Tell whether `convert` made the package."""
    return _WEIGHTS in mlmodel.user_defined_metadata


def unused_weights(mlmodel: Any) -> set[str]:
    """Return the names of the weights that the converted program does not use."""
    return set(json.loads(mlmodel.user_defined_metadata.get(_UNUSED, "[]")))


def provenance_of(mlmodel: Any) -> dict[str, str]:
    """Return what made the package: every recorded entry but the book-keeping of weights, without the prefix."""
    return {
        key.removeprefix(PREFIX): value
        for key, value in mlmodel.user_defined_metadata.items()
        if key.startswith(PREFIX) and key not in (_WEIGHTS, _PARTS, _UNUSED, _ORIGINS)
    }
