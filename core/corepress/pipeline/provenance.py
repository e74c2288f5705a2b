"""What made a model: the recipe and the plugins, as they travel with checkpoints and packages."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from corepress.pipeline.stage import BoundStage


def plugin_versions(stages: Sequence[BoundStage]) -> dict[str, str]:
    """Return `distribution version` for each algorithm of a recipe."""
    return {stage.algorithm: f"{stage.provider.distribution} {stage.provider.version}" for stage in stages}


def provenance(stages: Sequence[BoundStage], recipe: str, earlier: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what to store beside a compressed model, after what `earlier` runs have stored."""
    made_by = ", ".join(f"{name}: {made}" for name, made in plugin_versions(stages).items())
    if earlier:
        # Recipes of several runs are the documents of one YAML stream.
        recipe, made_by = f"{earlier['recipe']}---\n{recipe}", f"{earlier['plugins']}; {made_by}"
    return {"corepress": version("corepress"), "recipe": recipe, "plugins": made_by}
