"""`corepress plan`: a dry run."""

from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command
from corepress.cli.input_options import functions_option
from corepress.cli.outputs import check_apart, source_of


@click.command(cls=Command)
@options.recipe_argument
@options.model_argument
@options.state_option
@options.target_option
@options.strict_option
@click.option(
    "--compute-units",
    metavar="UNITS",
    help="Warn about published problems on these units: ALL, CPU_AND_NE, CPU_AND_GPU or CPU_ONLY.",
)
@functions_option
@options.json_option
@options.report_option
def plan(
    recipe: Path,
    model: str,
    state: Path | None,
    target: str | None,
    strict: bool,
    compute_units: str | None,
    function: str | None,
    as_json: bool,
    report_file: Path | None,
) -> None:
    """Show how RECIPE would compress MODEL, without compressing it.

    MODEL is package.module:name: a torch.nn.Module, or a function without arguments that returns one. The module can
    be in the current directory. MODEL can also be the path of an .mlpackage.
    """
    from corepress import Pipeline
    from corepress.cli.models import load_any, names_package

    outputs = {"--report": report_file}
    check_apart(outputs, {"RECIPE": recipe, "--state": state, "MODEL": Path(model) if names_package(model) else None})
    pipeline = Pipeline.from_yaml(recipe)
    module = load_any(model, state)
    check_apart(outputs, {"MODEL": source_of(model)})
    table = pipeline.plan(
        module, minimum_deployment_target=target, strict=strict, compute_units=compute_units, function=function
    )
    options.print_table(table, as_json, report_file)
