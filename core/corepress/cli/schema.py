"""`corepress schema`: print the JSON Schema, for editors."""

import json

import click

from corepress.cli.commands import Command
from corepress.config import json_schema
from corepress.plugin import registry


@click.command(cls=Command)
@click.argument("algorithm", required=False)
def schema(algorithm: str | None) -> None:
    """Print the JSON Schema of recipes or of ALGORITHM.

    Without ALGORITHM, print the schema of recipes. With it, print the schema of its configuration.
    """
    from corepress.pipeline.recipe import recipe_schema

    found = recipe_schema() if algorithm is None else json_schema(registry().find(algorithm).load_config())
    click.echo(json.dumps(found, indent=2))
