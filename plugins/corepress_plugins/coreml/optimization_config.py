"""Which operation of a program gets which configuration."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TextIO

from corepress.config import (
    Configuration,
    Document,
    Problem,
    dump_yaml,
    layered,
    load_yaml,
    option,
    raise_problems,
    structure,
)
from corepress.errors import ConfigError
from corepress.files import write_text
from corepress_plugins.coreml.op_config import OpCompressorConfig
from corepress_plugins.coreml.palettizer_config import OpPalettizerConfig
from corepress_plugins.coreml.passes import accept_in_passes, reference_config
from corepress_plugins.coreml.pruner_config import OpMagnitudePrunerConfig, OpThresholdPrunerConfig
from corepress_plugins.coreml.quantizer_config import OpActivationLinearQuantizerConfig, OpLinearQuantizerConfig

STRUCTURED_TYPES = ("conv", "linear")
"""The types of operations whose weights are pruned in blocks and ratios."""

_CONFIG_TYPES: dict[str, type[OpCompressorConfig]] = {
    cls.__name__: cls
    for cls in (
        OpPalettizerConfig,
        OpLinearQuantizerConfig,
        OpThresholdPrunerConfig,
        OpMagnitudePrunerConfig,
        OpActivationLinearQuantizerConfig,
    )
}
_SECTIONS = ("op_type_configs", "op_name_configs")


@layered
class OptimizationConfig(Configuration):
    """Configure which operations to compress, and how: all, by type and by name.

    A name wins over a type, and a type wins over `global_config`. None excludes an operation. A name is the name of an
    operation or of a constant, or a regular expression that matches the whole name. The name of a constant wins over
    the name of its operation. Without any configuration, nothing is compressed. The setters change the configuration in
    place and return it.
    """

    global_config: OpCompressorConfig | None = option(
        default=None, doc="Configuration of all operations that no other rule matches."
    )
    op_type_configs: dict[str, OpCompressorConfig | None] = option(
        factory=dict, doc='Configurations by the type of the operation that reads a weight, such as "conv" or "linear".'
    )
    op_name_configs: dict[str, OpCompressorConfig | None] = option(
        factory=dict, doc="Configurations by the name of the operation or of the constant."
    )

    def __init__(
        self,
        global_config: OpCompressorConfig | None = None,
        op_type_configs: Mapping[str, OpCompressorConfig | None] | None = None,
        op_name_configs: Mapping[str, OpCompressorConfig | None] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(
            global_config=global_config,
            op_type_configs={} if op_type_configs is None else op_type_configs,
            op_name_configs={} if op_name_configs is None else op_name_configs,
            **unknown,
        )

    def __getattribute__(self, name: str) -> Any:
        # The passes ask for global_config first, of a configuration that may be older than the import of coremltools.
        if name == "global_config":
            accept_in_passes(_CONFIG_TYPES)
        return super().__getattribute__(name)

    def set_global(self, op_config: OpCompressorConfig | None) -> Self:
        """Set the configuration of every operation that no other level mentions, and return self."""
        return self._change(global_config=op_config)

    def set_op_type(self, op_type: str, op_config: OpCompressorConfig | None) -> Self:
        """Set the configuration of a type of operations, and return self."""
        return self._change(op_type_configs={**self.op_type_configs, op_type: op_config})

    def set_op_name(self, op_name: str, op_config: OpCompressorConfig | None) -> Self:
        """Set the configuration of the operation or the constant of this name, and return self."""
        return self._change(op_name_configs={**self.op_name_configs, op_name: op_config})

    # What the passes of coremltools ask of a configuration; see `passes`.
    _is_deprecated: ClassVar[bool] = False
    _op_selector: ClassVar[None] = None

    def _get_const_op_config(self, op: Any) -> Any:
        return self._reference()._get_const_op_config(op)

    def _get_op_config(self, op: Any) -> Any:
        return self._reference()._get_op_config(op)

    def _reference(self) -> Any:
        import coremltools.optimize.coreml as reference

        return reference.OptimizationConfig(
            global_config=reference_config(self.global_config),
            op_type_configs={name: reference_config(each) for name, each in self.op_type_configs.items()},
            op_name_configs={name: reference_config(each) for name, each in self.op_name_configs.items()},
        )

    def _change(self, **levels: Any) -> Self:
        # A configuration that a setter refuses stays as it was.
        changed = self.evolve(**levels)
        for name in levels:
            object.__setattr__(self, name, getattr(changed, name))
        return self

    def op_configs(self) -> Iterator[tuple[str, OpCompressorConfig]]:
        """Yield every configuration with its path, such as "op_type_configs.conv"."""
        levels = {"global_config": self.global_config}
        for section in _SECTIONS:
            levels |= {f"{section}.{key}": value for key, value in getattr(self, section).items()}
        yield from ((path, config) for path, config in levels.items() if config is not None)

    def problems(self) -> Iterable[Problem]:
        """Refuse types that read no weight, or none that falls in blocks."""
        for op_type, config in self.op_type_configs.items():
            path = f"op_type_configs.{op_type}"
            if op_type == "const":
                yield Problem(path, "constants are configured by name, or by the type of the operation that reads them")
            elif config is not None and config.structured and op_type not in STRUCTURED_TYPES:
                yield Problem(
                    path,
                    f"block_size and n_m_ratio are for {' and '.join(STRUCTURED_TYPES)} only; "
                    "name the constant in op_name_configs to prune it nevertheless",
                )

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        """Return the configuration that plain data describes, with every problem raised as one `ConfigError`.

        `config_type` names the class of all configurations in it; one with a `config_type` of its own has that.
        """
        return cls._from_document(Document("", config_dict))

    @classmethod
    def from_yaml(cls, yml: str | Path | TextIO) -> Self:
        """Read a YAML file or text stream; every problem of the file is raised in one `ConfigError`, with its line."""
        return cls._from_document(load_yaml(yml))

    @classmethod
    def _from_document(cls, document: Document) -> Self:
        if not isinstance(document.data, Mapping):
            raise ConfigError(f"{cls.__name__}: must be a mapping, got {document.data!r}")
        named = document if document.name else None
        problems: list[Problem] = []
        data = {key: value for key, value in document.data.items() if key != "config_type"}
        default = document.data.get("config_type")
        if default is not None and not _is_known(default):
            raise_problems([_unknown_type("config_type", default)], named, subject=cls.__name__)
        if "global_config" in data:
            data["global_config"] = _op_config(data["global_config"], default, "global_config", document, problems)
        for section in _SECTIONS:
            given = data.get(section)
            if isinstance(given, Mapping):
                data[section] = {
                    key: _op_config(value, default, f"{section}.{key}", document, problems)
                    for key, value in given.items()
                }
            elif given is None:
                data.pop(section, None)
        value, found = structure(cls, data, document=document)
        problems += found
        raise_problems(problems, named, subject=cls.__name__)
        assert value is not None
        return value

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that YAML can hold and `from_dict` reads back; each configuration names its class."""
        return {
            "global_config": _plain(self.global_config),
            **{
                section: {key: _plain(config) for key, config in getattr(self, section).items()}
                for section in _SECTIONS
            },
        }

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the configuration as YAML text, and write it to `path` if one is given."""
        text = dump_yaml(self.as_dict())
        if path is not None:
            write_text(path, text)
        return text


def _op_config(raw: Any, default: str | None, path: str, document: Document, problems: list[Problem]) -> Any:
    """Return the configuration that a mapping describes; everything else is returned as it is."""
    if not isinstance(raw, Mapping):
        return raw
    options = {key: value for key, value in raw.items() if key != "config_type"}
    name = raw.get("config_type", default)
    if not _is_known(name):
        problems.append(_unknown_type(f"{path}.config_type", name))
        return None
    config, found = structure(_CONFIG_TYPES[name], options, path, document)
    problems += found
    return config


def _is_known(name: object) -> bool:
    return isinstance(name, str) and name in _CONFIG_TYPES


def _unknown_type(path: str, name: object) -> Problem:
    given = "a value is required" if name is None else f"unknown configuration {name!r}"
    return Problem(path, f"{given}; give one of {', '.join(_CONFIG_TYPES)}")


def _plain(config: OpCompressorConfig | None) -> dict[str, Any] | None:
    return None if config is None else {"config_type": type(config).__name__, **config.as_dict()}
