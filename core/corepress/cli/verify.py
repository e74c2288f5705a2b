"""`corepress verify`: whether a package holds the weights of a model, and computes what it computes."""

from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command
from corepress.cli.json_output import echo_json


@click.command(cls=Command)
@options.package_argument
@options.model_argument
@options.state_option
@click.option(
    "--example-input",
    "shapes",
    metavar="SHAPE",
    multiple=True,
    help="An input of the model, to compare outputs too: 1,3,224,224 or 1,128:int32. Repeat it for further inputs.",
)
@click.option(
    "--example-inputs", "inputs_function", metavar="MODULE:NAME", help="A callable that returns all inputs instead."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="The relative error that outputs may have: by default 1e-4, or 2e-2 in half precision.",
)
@options.json_option
def verify(
    package: Path,
    model: str,
    state: Path | None,
    shapes: tuple[str, ...],
    inputs_function: str | None,
    tolerance: float | None,
    as_json: bool,
) -> None:
    """Compare every weight of a Core ML package with MODEL, bit for bit, and with example inputs every output.

    MODEL is package.module:name, a torch.nn.Module or a callable without arguments that returns one; --state holds the
    compressed weights that 'corepress compress' has written.
    """
    from corepress import coreml
    from corepress.cli.example_inputs import example_inputs
    from corepress.cli.models import load_model

    module = load_model(model, state)
    inputs = example_inputs(shapes, inputs_function, model) if shapes or inputs_function else None
    found = coreml.verify(package, module, inputs, tolerance=tolerance)
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo(str(found))
