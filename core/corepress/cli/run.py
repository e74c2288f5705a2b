"""`corepress run`: run a Core ML package on the CPU of any machine."""

from pathlib import Path
from typing import Any

import click

from corepress.cli import options
from corepress.cli.commands import Command, WrongUsage
from corepress.cli.input_options import function_option, input_options, precision_option
from corepress.cli.json_output import echo_json
from corepress.cli.outputs import check_writable
from corepress.files import overlap


@click.command(cls=Command)
@options.package_argument
@input_options
@precision_option
@function_option
@click.option(
    "--output-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write each output to DIR/NAME.npy. Write labels and probabilities of classifiers to DIR/NAME.json.",
)
@click.option(
    "--force", is_flag=True, help="Write to DIR even if it is not empty, and replace files of the same names."
)
@options.json_option
def run(
    package: Path,
    given: tuple[str, ...],
    is_random: bool,
    seed: int,
    precision: Any,
    function: str | None,
    output_dir: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Run a Core ML package and show its outputs.

    The table shows the type, shape and range of every output. The command works on any machine: it runs the package
    with torch kernels. It rounds float16 results after every operation.
    """
    from corepress import coreml
    from corepress.cli import program_outputs
    from corepress.cli.program_inputs import input_files, program_inputs

    if output_dir is not None:
        _check_folder(output_dir, force, package)
    executable = coreml.Executable(package, precision=precision, function=function)
    if output_dir is not None:
        program_outputs.check(executable.outputs, output_dir, input_files(given))
    outputs = executable.run(program_inputs(given, executable.inputs, seed if is_random else None))
    if output_dir is not None:
        program_outputs.write(outputs, output_dir, force)
    if as_json:
        echo_json(program_outputs.facts(outputs))
    else:
        click.echo(program_outputs.described(outputs))


def _check_folder(folder: Path, force: bool, package: Path) -> None:
    if overlap(folder, package) in ("is", "lies in"):
        raise WrongUsage(f"--output-dir {str(folder)!r} lies in the package {str(package)!r}; give another folder")
    if not folder.parent.is_dir():
        raise WrongUsage(f"{folder}: there is no folder {str(folder.parent)!r}; make it first")
    check_writable(folder / "output.npy" if folder.is_dir() else folder)
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise WrongUsage(f"{folder} is not empty; --force writes to it")
