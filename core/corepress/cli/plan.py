"""`corepress plan`: a dry run."""

from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command


@click.command(cls=Command)
@options.recipe_argument
@options.model_argument
@options.state_option
@options.target_option
@options.strict_option
@options.json_option
@options.report_option
def plan(
    recipe: Path,
    model: str,
    state: Path | None,
    target: str | None,
    strict: bool,
    as_json: bool,
    report_file: Path | None,
) -> None:
    """Show what RECIPE would do to MODEL, and do nothing.

    MODEL is package.module:name, a torch.nn.Module or a callable without arguments that returns one; modules in the
    current directory are found. Or it is the path of an .mlpackage.
    """
    from corepress import Pipeline
    from corepress.cli.models import load_any

    pipeline = Pipeline.from_yaml(recipe)
    table = pipeline.plan(load_any(model, state), minimum_deployment_target=target, strict=strict)
    options.print_table(table, as_json, report_file)
