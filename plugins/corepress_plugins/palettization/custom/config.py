"""Configuration of palettization with a user-defined function."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from corepress.config import CompressionConfig, ModuleConfig, Problem, configuration, layered, option
from corepress.errors import ConfigError
from corepress_plugins.palettization.custom.functions import REFERENCE, imported, reference_to
from corepress_plugins.palettization.table_config import ModuleFittedTableConfig


@configuration
class ModuleCustomPalettizerConfig(ModuleFittedTableConfig):
    """Configure the function that computes the LUTs of the weights of a module.

    A function that can be imported is stored as "package.module:function", also in files. Any other function, such as
    a lambda, cannot be written to a file.
    """

    lut_function: Any = option(
        doc="f(values of a group as a float32 array, channel axis first) -> (lut, indices). It must be pure and "
        'thread-safe. In files: "package.module:function".'
    )

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself."""
        function = self.lut_function
        return imported(function) if isinstance(function, str) else function  # type: ignore[no-any-return]

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace a function that can be imported by its reference."""
        reference = reference_to(data.get("lut_function"))
        return data if reference is None else {**data, "lut_function": reference}

    @classmethod
    def amend_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with the form of a reference."""
        schema["properties"]["lut_function"] |= {"type": "string", "pattern": REFERENCE}
        return schema

    def problems(self) -> Iterable[Problem]:
        """Refuse what is no function, and references that lead to none."""
        yield from super().problems()
        try:
            if not callable(self.function):
                yield Problem("lut_function", f"must be a function or 'package.module:function', got {self.function!r}")
        except ConfigError as error:
            yield Problem("lut_function", str(error))

    def as_dict(self) -> dict[str, Any]:
        """Return every option as plain values; ConfigError for a function that cannot be imported."""
        if not isinstance(self.lut_function, str):
            name = getattr(self.lut_function, "__qualname__", None) or repr(self.lut_function)
            raise ConfigError(
                f"lut_function {name} cannot be written down, because it cannot be imported; "
                "define it at the top level of a module"
            )
        return super().as_dict()


@layered
class CustomPalettizerConfig(CompressionConfig[ModuleCustomPalettizerConfig]):
    """Configure which modules to palettize with which function: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleCustomPalettizerConfig
