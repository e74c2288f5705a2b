"""`corepress plugins`: list the installed plugins and their status."""

import json

import click

from corepress.cli.commands import Command, WrongUsage
from corepress.cli.options import json_option
from corepress.config.suggestions import did_you_mean
from corepress.plugin import PluginRecord, registry


@click.command(cls=Command)
@json_option
@click.option("--traceback", "failed", metavar="NAME", help="Show why the plugin NAME failed to load.")
def plugins(as_json: bool, failed: str | None) -> None:
    """List the installed plugins.

    Each entry has the name, distribution, version, status, algorithms and hooks of a plugin.
    """
    records = registry().records
    if failed is not None:
        click.echo(_traceback(failed, records))
    elif as_json:
        click.echo(json.dumps([record.as_dict() for record in records], indent=2))
    else:
        click.echo("\n".join(map(_described, records)) or "no plugins are installed")


def _described(record: PluginRecord) -> str:
    lines = [f"{record.name}  {record.distribution} {record.version}  {record.status}"]
    if record.error:
        lines.append(f"    reason: {record.error}")
    if record.algorithms:
        lines.append(f"    algorithms: {', '.join(record.algorithms)}")
    if record.hooks:
        lines.append(f"    hooks: {', '.join(record.hooks)}")
    return "\n".join(lines)


def _traceback(name: str, records: tuple[PluginRecord, ...]) -> str:
    found = [record for record in records if name in (record.name, record.identity)]
    if not found:
        raise WrongUsage(f"there is no plugin {name!r}{did_you_mean(name, [record.name for record in records])}")
    texts = [record.traceback for record in found if record.traceback]
    if not texts:
        raise WrongUsage(f"plugin {found[0].identity} is {found[0].status} and has no traceback")
    return "\n".join(texts).rstrip()
