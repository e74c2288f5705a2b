"""`corepress evaluate`: a metric of a Core ML package over data."""

from pathlib import Path
from typing import Any

import click

from corepress.cli import options
from corepress.cli.commands import Command
from corepress.cli.input_options import precision_option
from corepress.cli.json_output import echo_json


@click.command(cls=Command)
@options.package_argument
@click.option(
    "--data",
    metavar="MODULE:NAME",
    required=True,
    help="A callable that returns batches: pairs of inputs and target.",
)
@click.option(
    "--metric",
    metavar="METRIC",
    default="accuracy",
    show_default=True,
    help="accuracy, top5, mse, or MODULE:NAME, a function (outputs, target) -> number.",
)
@click.option("--max-batches", metavar="N", type=click.IntRange(min=1), help="Stop after N batches.")
@precision_option
@options.json_option
def evaluate(package: Path, data: str, metric: str, max_batches: int | None, precision: Any, as_json: bool) -> None:
    """Measure how good a Core ML package is on data, averaged over all samples.

    It needs no Mac: the package runs with torch kernels. Modules in the current directory are found.
    """
    from corepress import coreml
    from corepress.cli.references import called, function, resolve

    measure = function(metric, "metric") if ":" in metric else metric
    batches = called(resolve(data, "data"), data, "data")
    value = coreml.evaluate(package, batches, measure, precision=precision, max_batches=max_batches)
    if as_json:
        echo_json({"metric": metric, "value": value})
    else:
        click.echo(f"{metric}: {value:.6g}")
