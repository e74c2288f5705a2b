"""Outputs of a program: described, and written to files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from corepress.coreml.table import table
from corepress.files import replacing


def facts(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what there is to say about each output as plain data; labels and probabilities are given whole."""
    return {name: _of_array(value) if isinstance(value, np.ndarray) else value for name, value in outputs.items()}


def described(outputs: Mapping[str, Any]) -> str:
    """Return a table of the arrays, and below it the labels and the likeliest classes of a classifier."""
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


def write(outputs: Mapping[str, Any], folder: Path) -> None:
    """Write each output to a file of its name in the folder, which is made if need be."""
    folder.mkdir(exist_ok=True)
    for name, value in outputs.items():
        stem = re.sub(r"[^\w.-]", "_", name)
        if isinstance(value, np.ndarray):
            with replacing(folder / f"{stem}.npy") as new:
                np.save(new, value)
        else:
            with replacing(folder / f"{stem}.json") as new:
                new.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


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
