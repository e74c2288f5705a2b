"""The command `corepress`."""

import click

from corepress.cli.algorithms import algorithms
from corepress.cli.commands import Group
from corepress.cli.compress import compress
from corepress.cli.diff import diff
from corepress.cli.evaluate import evaluate
from corepress.cli.inspect import inspect
from corepress.cli.plan import plan
from corepress.cli.plugins import plugins
from corepress.cli.run import run
from corepress.cli.schema import schema
from corepress.cli.verify import verify


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="corepress")
def main() -> None:
    """Compress neural networks for Core ML and PyTorch.

    Exit codes: 0 = success, 1 = the work failed, 2 = wrong usage or configuration.
    """


for _command in (plugins, algorithms, schema, plan, compress, inspect, verify, run, evaluate, diff):
    main.add_command(_command)
