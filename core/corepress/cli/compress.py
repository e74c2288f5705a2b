"""`corepress compress`: compress a model with a recipe and write the result."""

from pathlib import Path
from typing import Any

import click

from corepress.cli import options
from corepress.cli.commands import Command, WrongUsage
from corepress.cli.input_options import functions_option
from corepress.cli.outputs import check_apart, check_writable, size_on_disk, source_of
from corepress.files import overlap, replacing

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
    help="Output: a state dict (.pt or .safetensors) or a Core ML package (.mlpackage).",
)
@options.state_option
@options.target_option
@options.strict_option
@click.option(
    "--data", metavar="MODULE:NAME", help="Function that returns calibration batches. Some algorithms need it."
)
@click.option("--loss", metavar="MODULE:NAME", help="Function (model, batch) -> loss. Some algorithms need it.")
@click.option(
    "--example-input",
    "shapes",
    metavar="SHAPE",
    multiple=True,
    help="Shape of a model input, to write an .mlpackage: 1,3,224,224 or 1,128:int32. Repeat it for more inputs.",
)
@click.option(
    "--example-inputs",
    "inputs_function",
    metavar="MODULE:NAME",
    help="Function that returns all model inputs. Default: 'example_inputs' in the module of MODEL.",
)
@functions_option
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
    function: str | None,
    force: bool,
    as_json: bool,
    report_file: Path | None,
) -> None:
    """Compress MODEL with RECIPE, write OUT and print a report.

    MODEL is package.module:name: a torch.nn.Module, or a function without arguments that returns one. The module can
    be in the current directory. If OUT is an .mlpackage, corepress verifies it against the compressed model before it
    writes OUT.

    MODEL can also be an .mlpackage. OUT is then another .mlpackage, or the same one with --force.
    """
    if out.suffix not in _SUFFIXES:
        raise WrongUsage(f"{out}: the name must end in one of {', '.join(_SUFFIXES)}")
    from corepress import Pipeline
    from corepress.cli import references
    from corepress.cli.example_inputs import example_inputs
    from corepress.cli.models import load_any, names_package, safetensors_torch

    from_package = names_package(model)
    outputs = {"-o": out, "--report": report_file}
    in_place = from_package and overlap(out, Path(model)) == "is"
    check_apart(
        outputs, {"RECIPE": recipe, "--state": state, "MODEL": Path(model) if from_package and not in_place else None}
    )
    check_writable(out, package=out.suffix == _PACKAGE, force=force)
    if from_package and out.suffix != _PACKAGE:
        raise WrongUsage(f"{out}: MODEL is an .mlpackage, so the output must be one too")
    if from_package and (shapes or inputs_function):
        raise WrongUsage(f"{model}: a Core ML package defines its own inputs; remove --example-input(s)")
    if out.suffix == ".safetensors":
        safetensors_torch()
    pipeline = Pipeline.from_yaml(recipe)
    module = load_any(model, state)
    batches = None if data is None else references.resolve(data, "data")
    loss_fn = None if loss is None else references.function(loss, "loss")
    inputs = None
    if out.suffix == _PACKAGE and not from_package:
        target = target or _DEFAULT_TARGET
        inputs = example_inputs(shapes, inputs_function, model)
    sources = {"MODEL": model, "--data": data, "--loss": loss, "--example-inputs": inputs_function}
    check_apart(outputs, {word: source_of(reference) for word, reference in sources.items()})
    small = pipeline.compress(
        module,
        data=None if data is None else references.called(batches, data, "data"),
        loss_fn=loss_fn,
        minimum_deployment_target=target,
        strict=strict,
        function=function,
    )
    _write(small, out, force, inputs, target)
    options.print_table(pipeline.report(), as_json, report_file)


def _write(model: Any, out: Path, force: bool, inputs: Any, target: str | None) -> None:
    from corepress.cli import writers

    with replacing(out, package=out.suffix == _PACKAGE, replace=force) as new:
        if out.suffix == _PACKAGE and inputs is None:
            model.save(str(new))
        elif out.suffix == _PACKAGE:
            writers.write_package(model, new, inputs, target)
        elif out.suffix == ".pt":
            writers.write_pt(model, new)
        else:
            writers.write_safetensors(model, new)
    click.echo(f"wrote {out} ({size_on_disk(out):,} bytes)", err=True)
