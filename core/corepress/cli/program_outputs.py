"""Describe the outputs of a program, and write them to files."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from corepress.cli.commands import WrongUsage
from corepress.cli.outputs import check_writable
from corepress.coreml.table import table
from corepress.files import check_output, overlap, replacing

_SUFFIXES = (".npy", ".json")


def facts(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Describe each output as plain data. Labels and probabilities are complete."""
    return {name: _of_array(value) if isinstance(value, np.ndarray) else value for name, value in outputs.items()}


def described(outputs: Mapping[str, Any]) -> str:
    """Return a table of the arrays, followed by the labels and the most probable classes of a classifier."""
    arrays = {name: _of_array(value) for name, value in outputs.items() if isinstance(value, np.ndarray)}
    rows = [
        (
            name,
            each["dtype"],
            "x".join(map(str, each["shape"])),
            *(_number(each[key]) for key in ("min", "max", "mean")),
        )
        for name, each in arrays.items()
    ]
    texts = [table(("output", "dtype", "shape", "min", "max", "mean"), rows)] if rows else []
    return "\n".join(texts + [f"{name}: {_label(value)}" for name, value in outputs.items() if name not in arrays])


def check(names: Iterable[str], folder: Path, inputs: Iterable[Path]) -> None:
    """Refuse outputs that cannot be written to a folder, or that would replace an input; nothing is written.

    Raises:
        WrongUsage: naming the file.
    """
    files = [folder / f"{stem}{suffix}" for stem in _stems(names).values() for suffix in _SUFFIXES]
    for file in files if folder.is_dir() else ():
        check_writable(file)
    for file, given in itertools.product(files, inputs):
        if overlap(file, given) == "is":
            raise WrongUsage(f"--output-dir: the output {str(file)!r} would replace an input; give another folder")


def write(outputs: Mapping[str, Any], folder: Path, force: bool = False) -> None:
    """Write each output to a file of its name in the folder, which is made if need be.

    Raises:
        OutputError: a file cannot be written, in most cases before any of them is; or without `force`, it appeared
            while the program ran, and what was to be written is kept under another name.
    """
    folder.mkdir(exist_ok=True)
    stems = _stems(outputs)
    files = {folder / f"{stems[name]}{_suffix(value)}": value for name, value in outputs.items()}
    for file in files:
        check_output(file)
    for file, value in files.items():
        with replacing(file, replace=force) as new:
            if isinstance(value, np.ndarray):
                with new.open("wb") as stream:
                    np.save(stream, value)
            else:
                new.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _suffix(value: Any) -> str:
    return _SUFFIXES[0] if isinstance(value, np.ndarray) else _SUFFIXES[1]


def _stems(names: Iterable[str]) -> dict[str, str]:
    """Return a file name for each output; names that differ in other characters than these get a number."""
    stems: dict[str, str] = {}
    for name in names:
        stem = sanitized = re.sub(r"[^\w.-]", "_", name)
        number = 2
        # Some file systems do not distinguish upper and lower case.
        while stem.lower() in map(str.lower, stems.values()):
            stem, number = f"{sanitized}-{number}", number + 1
        stems[name] = stem
    return stems


def _of_array(value: Any) -> dict[str, Any]:
    numbers = value.astype(np.float64)
    measures = {"min": numbers.min, "max": numbers.max, "mean": numbers.mean}
    ranges = {key: float(measure()) if value.size else None for key, measure in measures.items()}
    return {"dtype": str(value.dtype), "shape": list(value.shape), **ranges}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _label(value: Any, most: int = 5) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    likeliest = sorted(value, key=lambda label: -value[label])[:most]
    return ", ".join(f"{label} {value[label]:.4g}" for label in likeliest)
