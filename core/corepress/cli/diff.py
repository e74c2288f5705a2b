"""`corepress diff`: compare two Core ML packages of the same model."""

from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command
from corepress.cli.input_options import functions_option, input_options
from corepress.cli.json_output import echo_json


@click.command(cls=Command)
@click.argument("a", metavar="A.mlpackage", type=options.package_type)
@click.argument("b", metavar="B.mlpackage", type=options.package_type)
@input_options
@functions_option
@options.json_option
def diff(
    a: Path, b: Path, given: tuple[str, ...], is_random: bool, seed: int, function: str | None, as_json: bool
) -> None:
    """Compare two Core ML packages, weight by weight.

    Both packages must come from the same model. With --input or --random, corepress also runs both packages and
    compares the results layer by layer.
    """
    from corepress import coreml
    from corepress.cli.program_inputs import program_inputs
    from corepress.coreml.comparison import inputs_of_both

    inputs = None
    if given or is_random:
        inputs = program_inputs(given, inputs_of_both(a, b, function), seed if is_random else None)
    found = coreml.diff(a, b, inputs, function=function)
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo(str(found))
