"""The arguments and options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from corepress.cli.outputs import check_writable
from corepress.files import sweep, write_text

if TYPE_CHECKING:
    from corepress.pipeline import Plan, Report

F = TypeVar("F", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
recipe_argument = click.argument("recipe", type=click.Path(path_type=Path))
model_argument = click.argument("model", metavar="MODEL")


class _Package(click.Path):
    """The path of a package that exists, or that a killed process has displaced: it is brought back first."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if not path.exists() and path.parent.is_dir():
            sweep(path.resolve().parent)
        return super().convert(value, param, ctx)


package_type = _Package(path_type=Path, exists=True)
package_argument = click.argument("package", metavar="X.mlpackage", type=package_type)
state_option = click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="Load this state dict (.pt or .safetensors) into the model.",
)
strict_option = click.option("--strict", is_flag=True, help="Fail if a weight is skipped or if a rule matches nothing.")


def _checked(_: click.Context, __: click.Parameter, file: Path | None) -> Path | None:
    if file is not None:
        check_writable(file)
    return file


report_option = click.option(
    "--report",
    "report_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    callback=_checked,
    help="Also write the table to FILE, as JSON. An existing FILE is replaced.",
)


class _Target(click.ParamType[str]):
    """A deployment target, checked as soon as the command line is read."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from corepress.coreml import DeploymentTarget
        from corepress.errors import ExportError

        try:
            return str(DeploymentTarget.parse(value))
        except ExportError as error:
            self.fail(str(error), param, ctx)


target_option = click.option(
    "--target", type=_Target(), metavar="TARGET", help="Minimum deployment target: iOS16, iOS18, macOS15, ..."
)


def print_table(table: "Plan | Report", as_json: bool, report_file: Path | None) -> None:
    """Print a plan or a report, and write it to a file if one is asked for."""
    click.echo(table.to_json() if as_json else str(table))
    if report_file is not None:
        write_text(report_file, table.to_json() + "\n")
