"""`corepress algorithms`: list the algorithms."""

import json
from typing import Any

import click

from corepress.cli.commands import Command
from corepress.cli.options import json_option
from corepress.plugin import AlgorithmSpec, registry


@click.command(cls=Command)
@json_option
def algorithms(as_json: bool) -> None:
    """List the installed algorithms."""
    found = [_facts(spec) for spec in registry().algorithms()]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        click.echo("\n".join(map(_described, found)) or "no algorithms are installed; see 'corepress plugins'")


def _facts(spec: AlgorithmSpec) -> dict[str, Any]:
    provider = registry().provider(spec)
    return {
        "name": spec.name,
        "summary": spec.summary,
        "kind": list(spec.kind),
        "needs": spec.needs,
        "produces": spec.produces,
        "targets": list(spec.targets),
        "provider": provider.distribution,
    }


def _described(facts: dict[str, Any]) -> str:
    kind, targets = ", ".join(facts["kind"]), ", ".join(facts["targets"])
    return (
        f"{facts['name']}  ({facts['provider']})\n    {facts['summary']}\n"
        f"    kind: {kind}; needs: {facts['needs']}; produces: {facts['produces']}; targets: {targets}"
    )
