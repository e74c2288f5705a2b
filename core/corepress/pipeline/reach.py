"""Which configuration of a stage each weight gets, or why the rule that won leaves it alone."""

from collections.abc import Sequence
from typing import Any

from corepress.config import Match, Resolution, Subject, for_count, resolve
from corepress.errors import ConfigError
from corepress.pipeline.stage import BoundStage
from corepress.targets import Target, Weight


def resolved(stage: BoundStage, target: Target, subjects: Sequence[Subject], strict: bool) -> Resolution[Any]:
    """Return which rule of a stage decides about each subject; a ConfigError names the stage."""
    try:
        return resolve(
            target.adapted(stage.config.rules()),
            subjects,
            known_names=target.known_names,
            known_types=target.known_types,
            strict=strict,
        )
    except ConfigError as error:
        raise ConfigError(f"{stage.label}: {error}", error.problems) from error


class Reach:
    """What the rules of a stage that have won mean for the weights of a model."""

    def __init__(self, resolution: Resolution[Any], weights: Sequence[Weight], kinds: Sequence[str] = ()) -> None:
        """Take what was resolved, all weights, and the kinds that rules about everything select; () = all."""
        self._matches = resolution.matches
        self._kinds = kinds
        # A pattern such as "encoder.*" is about everything in there, one that selects norms alone is about norms.
        self._wide = {resolution.matches[weight.name].rule for weight in weights if self._opt_in(weight) is None}

    def match_of(self, weight: Weight) -> Match[Any]:
        """Return what a weight gets, None to be left alone, and by which rule."""
        return for_count(self._matches[weight.name], weight.facts.count)

    def why_left(self, weight: Weight, match: Match[Any]) -> str | None:
        """Return why the rule leaves the weight alone, None when it does not."""
        if match.config is None:
            return "no rule reaches it" if match.rule.level == "none" else f"{match.rule} is null"
        threshold = match.config.weight_threshold
        if threshold is None:
            return self._opt_in(weight) if self._is_wide(weight) else None
        if weight.facts.count > threshold:
            return None
        return f"it has no more than {threshold} elements (weight_threshold)"

    def _opt_in(self, weight: Weight) -> str | None:
        """Return why rules about everything do not select a weight, or None."""
        if weight.incidental is not None or not self._kinds or set(self._kinds) & set(weight.kinds):
            return weight.incidental
        return f"only {', '.join(self._kinds)} are selected by default; give its name, its type, or a weight_threshold"

    def _is_wide(self, weight: Weight) -> bool:
        rule = self._matches[weight.name].rule
        return rule.level == "global" or (rule.level == "pattern" and rule in self._wide)
