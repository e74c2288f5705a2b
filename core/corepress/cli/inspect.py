"""`corepress inspect`: what a Core ML package stores."""

import json
from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command


@click.command(cls=Command)
@options.package_argument
@options.json_option
def inspect(package: Path, as_json: bool) -> None:
    """Show how a Core ML package stores each of its weights."""
    from corepress import coreml

    found = coreml.inspect(package)
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else str(found))
