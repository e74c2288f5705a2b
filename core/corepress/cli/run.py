"""`corepress run`: run a Core ML package on the CPU."""

from pathlib import Path
from typing import Any

import click

from corepress.cli import options
from corepress.cli.commands import Command, WrongUsage
from corepress.cli.input_options import input_options, precision_option
from corepress.cli.json_output import echo_json


@click.command(cls=Command)
@options.package_argument
@input_options
@precision_option
@click.option(
    "--output-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each output to DIR/NAME.npy, labels and probabilities of classifiers to DIR/NAME.json.",
)
@click.option("--force", is_flag=True, help="Write to DIR even if there is something in it.")
@options.json_option
def run(
    package: Path,
    given: tuple[str, ...],
    is_random: bool,
    seed: int,
    precision: Any,
    output_dir: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run a Core ML package with torch kernels and show its outputs: type, shape and range.

    It needs no Mac. What the program computes in half precision is rounded after every operation.
    """
    from corepress import coreml
    from corepress.cli import program_outputs
    from corepress.cli.program_inputs import program_inputs

    if output_dir is not None:
        _check_folder(output_dir, force)
    executable = coreml.Executable(package, precision=precision)
    outputs = executable.run(program_inputs(given, executable.inputs, seed if is_random else None))
    if output_dir is not None:
        program_outputs.write(outputs, output_dir)
    if as_json:
        echo_json(program_outputs.facts(outputs))
    else:
        click.echo(program_outputs.described(outputs))


def _check_folder(folder: Path, force: bool) -> None:
    if not folder.parent.is_dir():
        raise WrongUsage(f"{folder}: there is no folder {str(folder.parent)!r}; make it first")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise WrongUsage(f"{folder} is not empty; --force writes to it")
