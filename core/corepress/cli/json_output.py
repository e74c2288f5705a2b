"""JSON on standard output."""

import json
from typing import Any

import click


def echo_json(value: Any) -> None:
    """Print plain data as JSON. JSON has no infinite values and no NaN; they become null."""
    plain = json.loads(json.dumps(value), parse_constant=lambda _: None)
    click.echo(json.dumps(plain, indent=2))
