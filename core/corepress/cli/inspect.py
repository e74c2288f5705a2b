"""`corepress inspect`: show how a Core ML package stores its weights."""

from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command
from corepress.cli.input_options import functions_option
from corepress.cli.json_output import echo_json


@click.command(cls=Command)
@options.package_argument
@click.option(
    "--against",
    metavar="Y.mlpackage",
    type=options.package_type,
    help="Show the signal-to-noise ratio of each weight, compared with this package of the same model.",
)
@functions_option
@options.json_option
def inspect(package: Path, against: Path | None, function: str | None, as_json: bool) -> None:
    """Show how a Core ML package stores each of its weights."""
    from corepress import coreml

    found = coreml.inspect(package, against, function=function)
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo(str(found))
