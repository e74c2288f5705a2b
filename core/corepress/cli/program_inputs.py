"""Inputs of a program, from files or random."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from corepress.cli.commands import WrongUsage
from corepress.coreml.interpreter.inputs import Input, example_inputs


def program_inputs(given: Sequence[str], expected: Iterable[Input], seed: int | None) -> dict[str, Any]:
    """Return arrays by input name: from the files `given`, and with a seed random arrays for all other inputs.

    Raises:
        WrongUsage: a file is missing or contains no array, or an option is not NAME=FILE.npy or FILE.npz.
    """
    found: dict[str, Any] = {}
    for text in given:
        for name, array in _read(text).items():
            if name in found:
                raise WrongUsage(f"--input {text}: input {name!r} is given twice")
            found[name] = array
    if seed is None:
        return found
    return example_inputs(expected, seed) | found


def input_files(given: Sequence[str]) -> list[Path]:
    """Return the files that `program_inputs` reads."""
    return [Path(text.rpartition("=")[2]) for text in given]


def _read(text: str) -> dict[str, Any]:
    name, is_named, file = text.rpartition("=")
    path = Path(file)
    if path.suffix != (".npy" if is_named else ".npz"):
        raise WrongUsage(f"--input {text!r} must have the form NAME=FILE.npy or FILE.npz")
    if not path.is_file():
        raise WrongUsage(f"{path}: there is no such file")
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            return {name: loaded} if is_named else dict(loaded)
    except Exception as error:
        raise WrongUsage(f"{path}: cannot read an array from it; write one with numpy.save or numpy.savez") from error
