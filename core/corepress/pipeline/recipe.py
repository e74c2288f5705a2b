"""Recipes: the stages of a pipeline and their seed, as plain data and as YAML."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import attrs

from corepress.config import Document, Problem, dump_yaml, json_schema, load_yaml, raise_problems
from corepress.config.problems import shown
from corepress.config.suggestions import did_you_mean
from corepress.errors import PlanError, PluginError
from corepress.files import write_text
from corepress.pipeline.listeners import ListenerOptions, checked_listeners
from corepress.pipeline.scheduling import schedule_data, schedule_schema
from corepress.pipeline.stage import BoundStage, Stage, bind
from corepress.plugin import registry
from corepress.warn import warn_user

_SEED_BITS = 64
_DEFINITIONS = "#/$defs/"
_RECIPE_KEYS = ("stages", "seed", "listeners")
_STAGE_KEYS = ("algorithm", "config", "calibration")


@attrs.frozen
class Recipe:
    """The stages of a pipeline in their order, the seed of all randomness, and options of the plugins that listen."""

    stages: tuple[BoundStage, ...]
    seed: int
    listeners: ListenerOptions = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise_problems([Problem("seed", f"must be an integer, got {self.seed!r}")])
        if self.seed.bit_length() > _SEED_BITS:
            raise_problems([Problem("seed", f"must have at most {_SEED_BITS} bits, got {shown(self.seed)}")])

    @property
    def on_activations(self) -> bool:
        """Whether a stage may quantize activations."""
        return any(stage.on_activations for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        data: dict[str, Any] = {"seed": self.seed} if self.seed else {}
        data["stages"] = [_stage_data(stage) for stage in self.stages]
        if self.listeners:
            data["listeners"] = copy.deepcopy(dict(self.listeners))
        return data

    @property
    def of_the_model(self) -> "Recipe":
        """The recipe as far as it decides what becomes of a model: without the options of listeners."""
        return attrs.evolve(self, listeners={})

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the recipe as YAML, and write it to `path` when one is given."""
        text = dump_yaml(self.as_dict())
        if path is not None:
            write_text(path, text)
        return text

    def require_given(self, data: object, loss_fn: object, *, trained: bool = False) -> None:
        """Refuse calibration data and losses of the wrong kind, and stages that lack theirs.

        Stages that train need neither once the model is `trained`.

        Raises:
            PlanError: naming the stage, and the argument to give.
        """
        if loss_fn is not None and not callable(loss_fn):
            raise PlanError(f"loss_fn is of type {type(loss_fn).__name__}; pass loss_fn=lambda model, batch: ...")
        for stage in self.stages:
            kinds, needs = stage.spec.kind, stage.spec.needs
            if trained and "training" in kinds:
                continue
            if not {"weight", "activation"} & set(kinds):
                raise PlanError(f"{stage.label} works in a training loop; use prepare, step and finalize")
            if not stage.config.needs_data:
                continue
            if needs in ("inputs", "loss") and data is None:
                raise PlanError(f"{stage.label} needs calibration data; pass data=<iterable of batches>")
            if needs == "loss" and loss_fn is None:
                raise PlanError(f"{stage.label} needs a loss; pass loss_fn=lambda model, batch: ...")


def read_recipe(source: str | Path | TextIO) -> Recipe:
    """Return a recipe from YAML; every problem of the file is reported at once."""
    return parse_recipe(load_yaml(source))


def parse_recipe(document: Document) -> Recipe:
    """Return the recipe that a document describes."""
    data = document.data
    if not isinstance(data, Mapping):
        raise_problems([Problem("", f"a recipe is a mapping with the key 'stages', not {type(data).__name__}")])
    problems = _unknown(data, _RECIPE_KEYS, "", "a recipe")
    items = data.get("stages")
    if not isinstance(items, Sequence) or isinstance(items, str) or not items:
        problems.append(Problem("stages", "a recipe needs a list of at least one stage, each with an 'algorithm'"))
        items = []
    seed = data.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        problems.append(Problem("seed", f"must be an integer, got {seed!r}"))
    stages = []
    for index, item in enumerate(items):
        wrong = _stage_problems(item, f"stages[{index}]")
        problems += wrong
        if not wrong:
            stages.append((index, Stage(item["algorithm"], item.get("config"), item.get("calibration"))))
    bound, wrong = bind(stages, document)
    listeners, unfit = checked_listeners(data.get("listeners"))
    raise_problems([*problems, *wrong, *unfit], document)
    return Recipe(bound, seed, listeners)


def _stage_problems(item: object, path: str) -> list[Problem]:
    if not isinstance(item, Mapping):
        return [Problem(path, f"must be a mapping with the keys 'algorithm' and 'config', got {item!r}")]
    problems = _unknown(item, _STAGE_KEYS, path, "a stage")
    if not isinstance(item.get("algorithm"), str):
        problems.append(Problem(path, "a stage needs an 'algorithm'"))
    if not isinstance(item.get("config"), Mapping | None):
        problems.append(Problem(f"{path}.config", f"must be a mapping, got {item['config']!r}"))
    return problems


def _unknown(data: Mapping[Any, Any], known: Sequence[str], path: str, what: str) -> list[Problem]:
    prefix = f"{path}." if path else ""
    return [
        Problem(
            f"{prefix}{key}",
            f"unknown key {key!r} of {what}{did_you_mean(key, known) or '; it has ' + ', '.join(known)}",
        )
        for key in data
        if key not in known
    ]


def _stage_data(stage: BoundStage) -> dict[str, Any]:
    data = {"algorithm": stage.algorithm, "config": stage.config.as_dict()}
    calibration = schedule_data(stage.schedule)
    return {**data, "calibration": calibration} if calibration else data


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """Return a schema whose references lead to definitions of other names, or into them."""
    if isinstance(schema, list):
        return [_renamed(item, names) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {key: _led(value, names) if key == "$ref" else _renamed(value, names) for key, value in schema.items()}


def _led(reference: str, names: Mapping[str, str]) -> str:
    name, slash, inside = reference.removeprefix(_DEFINITIONS).partition("/")
    return f"{_DEFINITIONS}{names[name]}{slash}{inside}"


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema of recipes, with the options of every installed algorithm."""
    choices: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for spec in registry().algorithms():
        try:
            schema = json_schema(spec.load_config())
        except PluginError as error:
            warn_user(f"the schema leaves {spec.name!r} out: {error}")
            continue
        schema.pop("$schema", None)
        # Classes of two plugins may have one name.
        inside = {name: f"{spec.name}.{name}" for name in schema.get("$defs", {})}
        schema = _renamed(schema, inside)
        definitions |= {inside[name]: definition for name, definition in schema.pop("$defs", {}).items()}
        definitions[spec.name] = schema
        choices.append(
            {
                "type": "object",
                "properties": {
                    "algorithm": {"enum": [spec.name, f"{registry().provider(spec).distribution}/{spec.name}"]},
                    "config": {"anyOf": [{"$ref": f"#/$defs/{spec.name}"}, {"type": "null"}]},
                    "calibration": schedule_schema(),
                },
                "required": ["algorithm"],
                "additionalProperties": False,
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "corepress recipe",
        "type": "object",
        "properties": {
            "stages": {"type": "array", "minItems": 1, "items": {"anyOf": choices}},
            "seed": {"type": "integer", "default": 0},
            "listeners": {"type": ["object", "null"], "additionalProperties": {"type": "object"}},
        },
        "required": ["stages"],
        "additionalProperties": False,
        "$defs": definitions,
    }
