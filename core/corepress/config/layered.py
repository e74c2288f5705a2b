"""Configurations of three levels: by module name or pattern, by module type, and for everything else."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TextIO, TypeVar

import attrs

from corepress.config.by_size import BySize, entries
from corepress.config.document import Document, dump_yaml, load_yaml
from corepress.config.options import layered, option
from corepress.config.problems import Problem, collecting, join_path, raise_problems
from corepress.config.rules import Rules
from corepress.config.scalars import NameKey, TypeKey
from corepress.config.schema import Configuration, ModuleConfig, structure
from corepress.config.structuring import converter
from corepress.files import write_text

M = TypeVar("M", bound=ModuleConfig)

_SECTIONS = ("module_type_configs", "module_name_configs")


@layered
class CompressionConfig(Configuration, Generic[M]):
    """Map modules to configurations. Base class of the configurations that users write.

    A name wins over a type, and a type wins over `global_config`. None excludes a module. If a level does not mention a
    module, the next level decides. If all three levels are empty, `global_config` is `module_config()` with its
    defaults.

    You can give a list of configurations. Each weight gets one, by its size: the one with the largest
    `weight_threshold` that is smaller than the number of elements of the weight.

    The setters change the configuration in place, check all of it, and return it. A subclass sets `module_config`, is
    decorated with `layered`, and can add options.
    """

    module_config: ClassVar[type[ModuleConfig]] = ModuleConfig
    positional: ClassVar[tuple[str, ...]] = ("global_config", "module_type_configs", "module_name_configs")

    global_config: BySize[M] | None = option(
        default=None, doc="Configuration of all modules that no other rule matches."
    )
    module_type_configs: dict[TypeKey, BySize[M] | None] = option(
        factory=dict,
        doc='Configurations by module class: "Linear", "torch.nn.Linear" or the class. Subclasses match too.',
    )
    module_name_configs: dict[NameKey, BySize[M] | None] = option(
        factory=dict,
        doc="Configurations by module name, or by a regular expression that matches the whole name. First match wins.",
    )
    _origins: dict[str, str] = attrs.field(init=False, factory=dict, eq=False, repr=False)

    def assign(self, name: str, value: Any) -> None:
        """Set an option, which is checked by itself, and forget where it was read."""
        super().assign(name, value)
        self._forget_origins([name])

    def set_global(self, global_config: BySize[M | Mapping[str, Any]] | None) -> Self:
        """Set the configuration of every module that no other level mentions, and return self."""
        return self._set("global_config", global_config)

    def set_module_type(self, object_type: type | str, opt_config: BySize[M | Mapping[str, Any]] | None) -> Self:
        """Set the configuration of a class of modules, and return self."""
        return self._set("module_type_configs", {object_type: opt_config})

    def set_module_name(self, module_name: str, opt_config: BySize[M | Mapping[str, Any]] | None) -> Self:
        """Set the configuration of the module of this name, or of all that match the pattern, and return self."""
        return self._set("module_name_configs", {module_name: opt_config})

    @classmethod
    def from_yaml(cls, yml: str | Path | TextIO) -> Self:
        """Read a YAML file or text stream; every problem of the file is raised in one `ConfigError`, with its line."""
        document = load_yaml(yml)
        value, problems = structure(cls, document.data, document=document)
        raise_problems(problems, document)
        assert value is not None
        return value

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the configuration as YAML text, and write it to `path` if one is given."""
        text = dump_yaml(self.as_dict())
        if path is not None:
            write_text(path, text)
        return text

    def origin(self, path: str) -> str | None:
        """Return where `path` was read, as in "recipe.yaml, line 9"; None for what was not read from a file."""
        return self._origins.get(path)

    def module_configs(self) -> Iterator[M]:
        """Yield every configuration of every level, each entry of a list for itself."""
        for value in (self.global_config, *self.module_type_configs.values(), *self.module_name_configs.values()):
            yield from entries(value)

    def rules(self) -> Rules[BySize[M]]:
        """Return the three levels in the form that `resolve` works on."""
        return Rules(
            names=self.module_name_configs,
            types=self.module_type_configs,
            default=self.global_config,
            origin=self.origin,
        )

    @property
    def calibration_batches(self) -> tuple[int, int | None]:
        """The requested number of batches of calibration data, and the most that are read; None = all.

        If the data has fewer batches than requested, corepress warns and uses all of them.
        """
        return 1, None

    @property
    def needs_data(self) -> bool:
        """Whether any of the levels needs calibration data, of an algorithm that works from such."""
        return any(config.needs_data for config in self.module_configs())

    @classmethod
    def option_types(cls) -> dict[str, Any]:
        """Return the type of every option by name; the levels hold `module_config`."""
        return {
            name: kind[cls.module_config] if getattr(kind, "__parameters__", ()) else kind
            for name, kind in super().option_types().items()
        }

    @classmethod
    def amend_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with sections that may be null, which is how YAML reads a section without entries."""
        for section in _SECTIONS:
            schema["properties"][section]["type"] = ["object", "null"]
        return schema

    @classmethod
    def _written_out(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        written = {
            key: value for key, value in super()._written_out(data).items() if key not in _SECTIONS or value is not None
        }
        if all(_is_empty(written.get(level)) for level in ("global_config", *_SECTIONS)):
            written["global_config"] = {}
        return written

    def _came_from(self, document: Document, path: str) -> None:
        object.__setattr__(self, "_origins", document.within(path))

    def _set(self, level: str, raw: object) -> Self:
        problems: list[Problem] = []
        with collecting(problems, level):
            given = converter.structure(raw, self.option_types()[level])
        raise_problems(problems, subject=type(self).__name__)
        after = given if level == "global_config" else {**getattr(self, level), **given}
        # Tried on a copy: a configuration that a setter refuses stays as it was.
        trial = copy.copy(self)
        object.__setattr__(trial, level, after)
        with collecting(problems, ""):
            problems.extend(trial.problems())
        raise_problems(problems, subject=type(self).__name__)
        object.__setattr__(self, level, after)
        self._forget_origins([level] if level == "global_config" else [join_path(level, key) for key in given])
        return self

    def _forget_origins(self, changed: Sequence[str]) -> None:
        """Forget where some paths, and everything inside them, were read."""
        inside = tuple(path + sign for path in changed for sign in (".", "["))
        kept = {p: o for p, o in self._origins.items() if p not in changed and not p.startswith(inside)}
        object.__setattr__(self, "_origins", kept)


def _is_empty(level: object) -> bool:
    return level is None or (isinstance(level, Mapping) and not level)
