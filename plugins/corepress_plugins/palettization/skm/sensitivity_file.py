"""Sensitivities in a safetensors file, by weight name."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from corepress.algorithm import Unsupported, WeightFacts
from corepress.config.suggestions import did_you_mean
from corepress.errors import OutputError, PlanError
from corepress.files import check_output, replacing

_ANEW = "compute it anew with SKMPalettizer.compute_sensitivity"


def write_sensitivity(sensitivity: Mapping[str, Tensor], path: str | Path) -> None:
    """Write sensitivities by weight name; the file appears whole or not at all."""
    save = _safetensors().torch.save
    with replacing(Path(path)) as new:
        # save_file would make a file that only its owner can read.
        new.write_bytes(save({name: values.contiguous() for name, values in sensitivity.items()}))


def require_writable(path: str | Path) -> None:
    """Refuse a path that nothing can be written to, before any work."""
    _safetensors()
    try:
        check_output(Path(path))
    except OutputError as error:
        raise PlanError(f"sensitivity_path {error}") from error


def require_sensitivity(path: str, weight: WeightFacts) -> None:
    """Refuse a file without a sensitivity of the weight in its shape."""
    with _opened(path) as file:
        _key_of(file, path, weight)


def read_sensitivity(path: str, weight: WeightFacts) -> Tensor:
    """Return the sensitivity of a weight, found by any of its names, or by the spelling of the Core ML converter.

    Raises:
        PlanError: the file cannot be read, or holds none for the weight or one of another shape.
    """
    with _opened(path) as file:
        values: Tensor = file.get_tensor(_key_of(file, path, weight))
    return values


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    safe_open = _safetensors().safe_open
    # Unlike Path.is_file, it takes any text: a name may be too long for a file.
    if not os.path.isfile(path):  # noqa: PTH113
        raise PlanError(f"sensitivity_path {path!r}: there is no such file; {_ANEW}")
    try:
        file = safe_open(path, framework="pt")
    except Exception as error:
        raise PlanError(f"sensitivity_path {path!r} is no safetensors file ({error}); {_ANEW}") from error
    with file:
        yield file


def _key_of(file: Any, path: str, weight: WeightFacts) -> str:
    keys = list(file.keys())
    names = (weight.name, *weight.aliases)
    found = [name for name in names if name in keys][:1] or [key for key in keys if _spelled(key) in names]
    if len(found) > 1:
        raise PlanError(f"sensitivity_path {path!r}: {' and '.join(found)} may both be {weight.name}; {_ANEW}")
    if not found:
        near = did_you_mean(weight.name, keys)
        raise Unsupported(f"sensitivity_path {path!r} holds no sensitivity of it{near}")
    shape = tuple(file.get_slice(found[0]).get_shape())
    if shape != weight.shape:
        raise PlanError(
            f"sensitivity_path {path!r}: the sensitivity of {weight.name} has the shape {shape}, "
            f"the weight {weight.shape}; {_ANEW}"
        )
    return found[0]


def _spelled(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError as error:
        raise PlanError(
            "safetensors is not installed, which sensitivity_path needs; pip install 'corepress[safetensors]'"
        ) from error
    return safetensors
