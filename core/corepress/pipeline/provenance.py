"""What made a model: the recipe and the plugins, as they travel with checkpoints and packages."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from corepress.errors import ConfigError
from corepress.pipeline.recipe import Recipe
from corepress.pipeline.stage import BoundStage
from corepress.targets import Target


def plugin_versions(stages: Sequence[BoundStage]) -> dict[str, str]:
    """Return `distribution version` for each algorithm of a recipe."""
    return {stage.algorithm: f"{stage.provider.distribution} {stage.provider.version}" for stage in stages}


def signed(target: Target, recipe: Recipe) -> Any:
    """Return the model of a target with its provenance: the recipe and the plugins of this run and of earlier ones."""
    try:
        text = recipe.of_the_model.to_yaml()
    except ConfigError as reason:
        # A configuration may hold what no file can, such as a function that is not importable.
        text = f"# {reason}\n"
    made_by = ", ".join(f"{name}: {made}" for name, made in plugin_versions(recipe.stages).items())
    if earlier := target.made_by:
        # Recipes of several runs are the documents of one YAML stream.
        text, made_by = f"{earlier['recipe']}---\n{text}", f"{earlier['plugins']}; {made_by}"
    return target.result({"corepress": version("corepress"), "recipe": text, "plugins": made_by})
