"""The options that give a program its inputs."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_INPUT = click.option(
    "--input",
    "given",
    metavar="NAME=FILE.npy",
    multiple=True,
    help="An input of the program; FILE.npz alone gives all that it holds, by their names. Repeat it for further ones.",
)
_RANDOM = click.option(
    "--random",
    "is_random",
    is_flag=True,
    help="Make up the inputs that are not given: numbers from 0 to 1, and zeros for integers.",
)
_SEED = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of --random.")

precision_option = click.option(
    "--precision",
    type=click.Choice(["model", "float32"]),
    default="model",
    show_default=True,
    help="Round to half precision where the program does, or nowhere but in what is stored.",
)


def input_options(command: F) -> F:
    """Give a command the options `given`, `is_random` and `seed`, from which `program_inputs` makes arrays."""
    return _INPUT(_RANDOM(_SEED(command)))
