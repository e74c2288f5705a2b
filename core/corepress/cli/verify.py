"""`corepress verify`: compare the weights and outputs of a Core ML package with a model."""

from pathlib import Path

import click

from corepress.cli import options
from corepress.cli.commands import Command
from corepress.cli.input_options import function_option
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
    help="Shape of a model input, to also compare outputs: 1,3,224,224 or 1,128:int32. Repeat it for more inputs.",
)
@click.option(
    "--example-inputs", "inputs_function", metavar="MODULE:NAME", help="Function that returns all model inputs."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="Largest relative error of the outputs. Default: 1e-4, or 2e-2 in float16.",
)
@function_option
@options.json_option
def verify(
    package: Path,
    model: str,
    state: Path | None,
    shapes: tuple[str, ...],
    inputs_function: str | None,
    tolerance: float | None,
    function: str | None,
    as_json: bool,
) -> None:
    """Compare a Core ML package with MODEL.

    The command compares every weight bit for bit. With example inputs, it also compares every output.

    MODEL is package.module:name: a torch.nn.Module, or a function without arguments that returns one. Use --state to
    load the compressed weights that 'corepress compress' wrote.
    """
    from corepress import coreml
    from corepress.cli.example_inputs import example_inputs
    from corepress.cli.models import load_model

    module = load_model(model, state)
    inputs = example_inputs(shapes, inputs_function, model) if shapes or inputs_function else None
    found = coreml.verify(package, module, inputs, tolerance=tolerance, function=function)
    if as_json:
        echo_json(found.as_dict())
    else:
        click.echo(str(found))
