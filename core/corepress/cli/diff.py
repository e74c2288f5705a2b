"""`corepress diff`: compare two Core ML packages of the same model."""

from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command
from corepress.cli.input_options import input_options
from corepress.cli.json_output import echo_json


@click.command(cls=Command)
@click.argument("a", metavar="A.mlpackage", type=options.package_type)
@click.argument("b", metavar="B.mlpackage", type=options.package_type)
@input_options
@options.json_option
def diff(a: Path, b: Path, given: tuple[str, ...], is_random: bool, seed: int, as_json: bool) -> None:
    """Compare two Core ML packages, weight by weight.

    Both packages must come from the same model. With --input or --random, corepress also runs both packages and
    compares the results layer by layer.
    """
    from corepress import coreml
    from corepress.cli.program_inputs import program_inputs

    inputs = None
    if given or is_random:
        inputs = program_inputs(given, coreml.Executable(a).inputs, seed if is_random else None)
    found = coreml.diff(a, b, inputs)
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo(str(found))
