"""What made a model: the recipe and the plugins, as they travel with checkpoints and packages."""

from collections.abc import Sequence
from importlib.metadata import version

from corepress.pipeline.stage import BoundStage
from corepress.plugin import registry

PROVENANCE = "_corepress_provenance"
"""The attribute of a compressed model that holds its provenance, a mapping of strings."""


def plugin_versions(stages: Sequence[BoundStage]) -> dict[str, str]:
    """Return `distribution version` for each algorithm of a recipe."""
    found = {}
    for stage in stages:
        record = registry().provider(stage.spec)
        found[stage.algorithm] = f"{record.distribution} {record.version}"
    return found


def provenance(stages: Sequence[BoundStage], recipe: str) -> dict[str, str]:
    """Return what to store beside a compressed model."""
    made_by = ", ".join(f"{name}: {made}" for name, made in plugin_versions(stages).items())
    return {"corepress": version("corepress"), "recipe": recipe, "plugins": made_by}
