"""What a package says about its own making, in its user-defined metadata under `com.corepress.*`."""

import json
from collections.abc import Mapping
from typing import Any

PREFIX = "com.corepress."
_WEIGHTS, _UNUSED, _ORIGINS = f"{PREFIX}weights", f"{PREFIX}unused", f"{PREFIX}origins"


def metadata_for(
    placed: Mapping[str, str], unused: list[str], origins: Mapping[str, str], provenance: Mapping[str, str]
) -> dict[str, str]:
    """Return the metadata entries: compressed weights, unused ones, the constant of each weight, and the provenance."""
    entries = {key if key.startswith(PREFIX) else PREFIX + key: str(value) for key, value in provenance.items()}
    records = {_WEIGHTS: dict(placed), _UNUSED: unused, _ORIGINS: dict(origins)}
    return entries | {key: json.dumps(record) for key, record in records.items()}


def placed_weights(mlmodel: Any) -> dict[str, str]:
    """Return the operation names by weight name that `convert` has recorded; empty for packages of other makers."""
    recorded: dict[str, str] = json.loads(mlmodel.user_defined_metadata.get(_WEIGHTS, "{}"))
    return recorded


def torch_names(mlmodel: Any) -> dict[str, tuple[str, ...]]:
    """Return, by the name of the constant, what the weights that `convert` has recorded were called in torch."""
    found: dict[str, tuple[str, ...]] = {}
    recorded: dict[str, str] = json.loads(mlmodel.user_defined_metadata.get(_ORIGINS, "{}"))
    for weight, op in (placed_weights(mlmodel) | recorded).items():
        found[op] = (*found.get(op, ()), weight)
    return found


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
        if key.startswith(PREFIX) and key not in (_WEIGHTS, _UNUSED, _ORIGINS)
    }
