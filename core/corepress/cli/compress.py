"""`corepress compress`: run a recipe and write the result."""

from pathlib import Path
from typing import Any

import click

from corepress.cli import options
from corepress.cli.commands import Command, WrongUsage
from corepress.cli.outputs import check_writable, size_on_disk
from corepress.files import replacing

_PACKAGE = ".mlpackage"
_SUFFIXES = (".pt", ".safetensors", _PACKAGE)
_DEFAULT_TARGET = "iOS18"


@click.command(cls=Command)
@options.recipe_argument
@options.model_argument
@click.option(
    "-o",
    "--output",
    "out",
    metavar="OUT",
    required=True,
    type=click.Path(path_type=Path),
    help="What to write: a state dict (.pt or .safetensors) or a Core ML package (.mlpackage).",
)
@options.state_option
@options.target_option
@options.strict_option
@click.option(
    "--data", metavar="MODULE:NAME", help="A callable that returns calibration batches, for recipes that need them."
)
@click.option("--loss", metavar="MODULE:NAME", help="A function (model, batch) -> loss, for recipes that need one.")
@click.option(
    "--example-input",
    "shapes",
    metavar="SHAPE",
    multiple=True,
    help="An input of the model, for an .mlpackage: 1,3,224,224 or 1,128:int32. Repeat it for further inputs.",
)
@click.option(
    "--example-inputs",
    "inputs_function",
    metavar="MODULE:NAME",
    help="A callable that returns all inputs; by default 'example_inputs' in the module of MODEL.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@options.json_option
@options.report_option
def compress(
    recipe: Path,
    model: str,
    out: Path,
    state: Path | None,
    target: str | None,
    strict: bool,
    data: str | None,
    loss: str | None,
    shapes: tuple[str, ...],
    inputs_function: str | None,
    force: bool,
    as_json: bool,
    report_file: Path | None,
) -> None:
    """Compress MODEL by RECIPE, write OUT and print the report.

    MODEL is package.module:name, a torch.nn.Module or a callable without arguments that returns one; modules in the
    current directory are found. An .mlpackage is verified against the compressed model before it takes its place.
    MODEL may be an .mlpackage itself, and OUT is then another one, or the same with --force.
    """
    if out.suffix not in _SUFFIXES:
        raise WrongUsage(f"{out}: the name must end in one of {', '.join(_SUFFIXES)}")
    from corepress import Pipeline
    from corepress.cli.example_inputs import example_inputs
    from corepress.cli.models import is_package, load_any, safetensors_torch
    from corepress.cli.references import called, function, resolve

    check_writable(out, force)
    from_package = is_package(model)
    if from_package and out.suffix != _PACKAGE:
        raise WrongUsage(f"{out}: what is made of an .mlpackage is an .mlpackage")
    if from_package and (shapes or inputs_function):
        raise WrongUsage(f"{model}: a Core ML package knows its inputs; leave --example-input and --example-inputs out")
    if out.suffix == ".safetensors":
        safetensors_torch()
    pipeline = Pipeline.from_yaml(recipe)
    module = load_any(model, state)
    inputs = None
    if out.suffix == _PACKAGE and not from_package:
        target = target or _DEFAULT_TARGET
        inputs = example_inputs(shapes, inputs_function, model)
    small = pipeline.compress(
        module,
        data=None if data is None else called(resolve(data, "data"), data, "data"),
        loss_fn=None if loss is None else function(loss, "loss"),
        minimum_deployment_target=target,
        strict=strict,
    )
    _write(small, out, inputs, target)
    options.print_table(pipeline.report(), as_json, report_file)


def _write(model: Any, out: Path, inputs: Any, target: str | None) -> None:
    from corepress.cli import writers

    with replacing(out) as new:
        if out.suffix == _PACKAGE and inputs is None:
            model.save(str(new))
        elif out.suffix == _PACKAGE:
            writers.write_package(model, new, inputs, target)
        elif out.suffix == ".pt":
            writers.write_pt(model, new)
        else:
            writers.write_safetensors(model, new)
    click.echo(f"wrote {out} ({size_on_disk(out):,} bytes)", err=True)
