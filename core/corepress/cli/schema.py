"""`corepress schema`: print the JSON Schema, for editors."""

import json

import click

from corepress.cli.commands import Command
from corepress.config import json_schema
from corepress.plugin import registry


@click.command(cls=Command)
@click.argument("algorithm", required=False)
def schema(algorithm: str | None) -> None:
    """Print the JSON Schema of recipes, or of the configuration of ALGORITHM.

    Editors use it to complete and check a recipe.
    """
    from corepress.pipeline.recipe import recipe_schema

    found = recipe_schema() if algorithm is None else json_schema(registry().find(algorithm).load_config())
    click.echo(json.dumps(found, indent=2))
