"""What a package says about its own making, in its user-defined metadata under `com.corepress.*`."""

import json
from collections.abc import Mapping
from typing import Any

PREFIX = "com.corepress."
_WEIGHTS, _UNUSED = f"{PREFIX}weights", f"{PREFIX}unused"


def metadata_for(placed: Mapping[str, str], unused: list[str], provenance: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata entries: operation names by weight name, unused weights, and the provenance."""
    entries = {key if key.startswith(PREFIX) else PREFIX + key: str(value) for key, value in provenance.items()}
    return entries | {_WEIGHTS: json.dumps(dict(placed)), _UNUSED: json.dumps(unused)}


def placed_weights(mlmodel: Any) -> dict[str, str]:
    """Return the operation names by weight name that `convert` has recorded; empty for packages of other makers."""
    recorded: dict[str, str] = json.loads(mlmodel.user_defined_metadata.get(_WEIGHTS, "{}"))
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
        if key.startswith(PREFIX) and key not in (_WEIGHTS, _UNUSED)
    }
