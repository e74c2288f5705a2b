"""The calibration of a stage, as recipes write it."""

from collections.abc import Mapping
from typing import Any

import attrs

from corepress.calibration import Schedule
from corepress.calibration.schedule import MODES
from corepress.config import Problem
from corepress.config.suggestions import did_you_mean

OPTIONS = tuple(field.name for field in attrs.fields(Schedule))


def structure_schedule(data: Any, path: str) -> tuple[Schedule | None, list[Problem]]:
    """Return the schedule that plain data describe, and what is wrong with them."""
    if isinstance(data, Schedule):
        return data, []
    if not isinstance(data, Mapping | None):
        return None, [Problem(path, f"must be a mapping, got {data!r}")]
    given = dict(data or {})
    problems = [
        Problem(f"{path}.{key}", f"unknown key {key!r} of a calibration{did_you_mean(key, OPTIONS) or _listed()}")
        for key in given
        if key not in OPTIONS
    ]
    if problems:
        return None, problems
    try:
        return Schedule(**given), []
    except (TypeError, ValueError) as error:
        # attrs adds the field and the value to the arguments.
        return None, [Problem(path, str(error.args[0]))]


def schedule_data(schedule: Schedule) -> dict[str, Any]:
    """Return what differs from the default schedule as plain data, the inverse of `structure_schedule`."""
    default = Schedule()
    given = {name: getattr(schedule, name) for name in OPTIONS if getattr(schedule, name) != getattr(default, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def schedule_schema() -> dict[str, Any]:
    """Return the JSON Schema of a calibration."""
    return {
        "type": ["object", "null"],
        "properties": {
            "mode": {
                "enum": list(MODES),
                "default": "together",
                "description": "together: all layers in one pass; sequential: block by block, each calibrated on the "
                "outputs of the compressed blocks before it",
            },
            "blocks": {
                "type": ["array", "null"],
                "items": {"type": "string"},
                "description": "names of modules, or regular expressions that match the whole name; by default the "
                "children of the model",
            },
            "batches": {"type": ["integer", "null"], "minimum": 1, "description": "the most batches that are read"},
            "memory": {
                "type": ["integer", "null"],
                "minimum": 0,
                "description": "the most bytes of cached inputs in memory; more go to a temporary file",
            },
        },
        "additionalProperties": False,
    }


def _listed() -> str:
    return f"; it has {', '.join(OPTIONS)}"
