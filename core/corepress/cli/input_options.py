"""Options for the inputs of a program."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_INPUT = click.option(
    "--input",
    "given",
    metavar="NAME=FILE.npy",
    multiple=True,
    help="Input of the program. FILE.npz without NAME: all its arrays, by name. Repeat it for more inputs.",
)
_RANDOM = click.option(
    "--random",
    "is_random",
    is_flag=True,
    help="Generate the inputs that are not given: floats between 0 and 1, integers 0.",
)
_SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of --random.")

precision_option = click.option(
    "--precision",
    type=click.Choice(["model", "float32"]),
    default="model",
    show_default=True,
    help="model: round float16 results as the program does. float32: compute everything in float32.",
)


def input_options(command: F) -> F:
    """Add the options `given`, `is_random` and `seed` to a command, for `program_inputs`."""
    return _INPUT(_RANDOM(_SEED(command)))


_FUNCTION = "Function of the package, where it has several. Default: "

function_option = click.option("--function", metavar="NAME", help=f"{_FUNCTION}its default function.")
functions_option = click.option("--function", metavar="NAME", help=f"{_FUNCTION}all of them.")
