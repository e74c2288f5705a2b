"""What a package says about its own making, in its user-defined metadata under `com.corepress.*`."""

import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from corepress.errors import ExportError

T = TypeVar("T")

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
    return _recorded(mlmodel, _WEIGHTS, dict[str, str])


def torch_names(mlmodel: Any) -> dict[str, tuple[str, ...]]:
    """Return, by the name of the constant, what the weights that `convert` has recorded were called in torch."""
    recorded = _recorded(mlmodel, _ORIGINS, dict[str, str | list[str]])
    found: dict[str, tuple[str, ...]] = {}
    for record in (placed_weights(mlmodel), parts_of_weights(mlmodel), recorded):
        for weight, ops in record.items():
            for op in [ops] if isinstance(ops, str) else ops:
                found[op] = tuple(dict.fromkeys((*found.get(op, ()), weight)))
    return found


def parts_of_weights(mlmodel: Any) -> Parts:
    """Return which operations hold which parts of a weight, for the weights that `convert` found reordered or apart."""
    return _recorded(mlmodel, _PARTS, dict[str, dict[str, list[int]]])


def _recorded(mlmodel: Any, key: str, form: type[T]) -> T:
    """Return a record of the book-keeping; empty where there is none.

    Raises ExportError for one that is damaged.
    """
    text = mlmodel.user_defined_metadata.get(key)
    if text is None:
        return typing.get_origin(form)()  # type: ignore[misc,no-any-return]
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        record = None
    if not _has_form(record, form):
        raise ExportError(
            f"the package's record {key!r} is damaged: {text[:80]!r}; delete it from the user-defined metadata "
            f"(del model.user_defined_metadata[{key!r}]), or convert again"
        )
    return record  # type: ignore[no-any-return]


def _has_form(value: object, form: Any) -> bool:
    """Tell whether plain data is of a type such as `dict[str, list[int]]`."""
    parts = typing.get_args(form)
    match typing.get_origin(form):
        case types.UnionType:
            return any(_has_form(value, part) for part in parts)
        case origin if origin is dict:
            return isinstance(value, dict) and all(_has_form(each, parts[1]) for each in value.values())
        case origin if origin is list:
            return isinstance(value, list) and all(_has_form(each, parts[0]) for each in value)
    return isinstance(value, form) and not isinstance(value, bool)


def is_ours(mlmodel: Any) -> bool:
    """Tell whether `convert` made the package."""
    return _WEIGHTS in mlmodel.user_defined_metadata


def unused_weights(mlmodel: Any) -> set[str]:
    """Return the names of the weights that the converted program does not use."""
    return set(_recorded(mlmodel, _UNUSED, list[str]))


def provenance_of(mlmodel: Any) -> dict[str, str]:
    """Return what made the package: every recorded entry but the book-keeping of weights, without the prefix."""
    return {
        key.removeprefix(PREFIX): value
        for key, value in mlmodel.user_defined_metadata.items()
        if key.startswith(PREFIX) and key not in (_WEIGHTS, _PARTS, _UNUSED, _ORIGINS)
    }
