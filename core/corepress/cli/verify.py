"""`corepress verify`: whether a package holds the weights of a model."""

import json
from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command


@click.command(cls=Command)
@options.package_argument
@options.model_argument
@options.state_option
@options.json_option
def verify(package: Path, model: str, state: Path | None, as_json: bool) -> None:
    """Compare every weight of a Core ML package with MODEL, bit for bit.

    MODEL is package.module:name, a torch.nn.Module or a callable without arguments that returns one; --state holds the
    compressed weights that 'corepress compress' has written.
    """
    from corepress import coreml
    from corepress.cli.models import load_model

    found = coreml.verify(package, load_model(model, state))
    click.echo(json.dumps(found.as_dict(), indent=2) if as_json else str(found))
