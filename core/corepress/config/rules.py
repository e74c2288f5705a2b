"""What precedence works with: the weights of a model, the rules of a user, and which rule won."""

from collections.abc import Callable, Mapping
from typing import Generic, Literal, TypeVar

import attrs

T = TypeVar("T")

Level = Literal["name", "pattern", "type", "global", "none"]


@attrs.frozen
class Alias:
    """Name one place where a weight is used.

    `names` has the most specific name first, such as ("mha.out_proj.weight", "mha.out_proj", "mha"). `types` has the
    nearest class first, each one as the set of its spellings, such as {"Linear", "torch.nn.Linear"}.
    """

    names: tuple[str, ...]
    types: tuple[frozenset[str], ...] = ()


@attrs.frozen
class Subject:
    """Name one thing to configure; a weight that several modules share has several aliases."""

    name: str
    aliases: tuple[Alias, ...]


@attrs.frozen
class Rule:
    """Name the rule that decided: its level, its key, and the section of the configuration that holds it.

    `entry` is the place of the configuration that was chosen from a list.
    """

    level: Level
    key: str | None = None
    section: str = ""
    entry: int | None = None

    @property
    def named(self) -> bool:
        """Return whether the user named the thing exactly, so that it must not be skipped in silence."""
        return self.level == "name"

    @property
    def path(self) -> str:
        """Return the path of the rule in its configuration."""
        return (self.section if self.key is None else f"{self.section}.{self.key}") + self._place

    def __str__(self) -> str:
        if self.level == "none":
            return "no rule"
        return (self.section if self.key is None else f"{self.section}[{self.key!r}]") + self._place

    @property
    def _place(self) -> str:
        return "" if self.entry is None else f"[{self.entry}]"


@attrs.frozen
class Rules(Generic[T]):
    """Hold the three levels of a configuration, what their sections are called, and where each path was read."""

    names: Mapping[str, T | None]
    types: Mapping[str, T | None]
    default: T | None
    name_section: str = "module_name_configs"
    type_section: str = "module_type_configs"
    default_section: str = "global_config"
    origin: Callable[[str], str | None] = lambda _path: None

    def name_rule(self, key: str) -> Rule:
        """Return the rule of an exact name."""
        return Rule("name", key, self.name_section)

    def pattern_rule(self, key: str) -> Rule:
        """Return the rule of a regular expression."""
        return Rule("pattern", key, self.name_section)

    def type_rule(self, key: str) -> Rule:
        """Return the rule of a type."""
        return Rule("type", key, self.type_section)

    def default_rule(self) -> Rule:
        """Return the rule for everything that no other one is about; no rule when there is no default."""
        return Rule("none") if self.default is None else Rule("global", None, self.default_section)

    def config_of(self, rule: Rule) -> T | None:
        """Return what a rule asks for; None is to leave alone."""
        if rule.key is None:
            return self.default
        return self.types[rule.key] if rule.level == "type" else self.names[rule.key]

    def located(self, rule: Rule) -> str:
        """Return a rule in words, followed by the file and line that it came from, if any."""
        origin = self.origin(rule.path)
        return f"{rule} ({origin})" if origin else str(rule)


@attrs.frozen
class Match(Generic[T]):
    """Say what a subject gets, None to be left alone, and by which rule."""

    config: T | None
    rule: Rule


@attrs.frozen
class Resolution(Generic[T]):
    """Hold the match of each subject by name, and one message for each pattern or type that selects nothing."""

    matches: Mapping[str, Match[T]]
    unmatched: tuple[str, ...] = ()
