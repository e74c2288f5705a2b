"""`corepress evaluate`: measure a metric of a Core ML package on data."""

from pathlib import Path
from typing import Any

import click

from corepress.cli import options
from corepress.cli.commands import Command
from corepress.cli.input_options import function_option, precision_option
from corepress.cli.json_output import echo_json


@click.command(cls=Command)
@options.package_argument
@click.option(
    "--data",
    metavar="MODULE:NAME",
    required=True,
    help="Function that returns batches. A batch is a pair (inputs, target).",
)
@click.option(
    "--metric",
    metavar="METRIC",
    default="accuracy",
    show_default=True,
    help="accuracy, top5, mse, or MODULE:NAME of a function (outputs, target) -> number.",
)
@click.option("--max-batches", metavar="N", type=click.IntRange(min=1), help="Stop after N batches.")
@precision_option
@function_option
@options.json_option
def evaluate(
    package: Path,
    data: str,
    metric: str,
    max_batches: int | None,
    precision: Any,
    function: str | None,
    as_json: bool,
) -> None:
    """Measure a metric of a Core ML package on data.

    The result is the average over all samples. The command works on any machine: it runs the package with torch
    kernels. MODULE can be in the current directory.
    """
    from corepress import coreml
    from corepress.cli import references

    measure = references.function(metric, "metric") if ":" in metric else metric
    batches = references.called(references.resolve(data, "data"), data, "data")
    value = coreml.evaluate(package, batches, measure, precision=precision, max_batches=max_batches, function=function)
    if as_json:
        echo_json({"metric": metric, "value": value})
    else:
        click.echo(f"{metric}: {value:.6g}")
