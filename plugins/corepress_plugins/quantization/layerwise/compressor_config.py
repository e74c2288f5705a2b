"""The layer-wise configuration of a whole model: which module gets which algorithm."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Self, TypeVar

from corepress.config import (
    BySize,
    CompressionConfig,
    ModuleConfig,
    Problem,
    entries,
    layered,
    option,
    raise_problems,
    structure,
)
from corepress.config.problems import InvalidError, join_path
from corepress_plugins.pruning.sparse_gpt.config import ModuleSparseGPTConfig, SparseGPTConfig
from corepress_plugins.quantization.gptq.config import GPTQConfig, ModuleGPTQConfig
from corepress_plugins.quantization.layerwise.config import CalibratedConfig, ModuleLayerwiseConfig

C = TypeVar("C", bound=CalibratedConfig)

_MODULE_CONFIGS: Mapping[str, type[ModuleLayerwiseConfig]] = {
    "gptq": ModuleGPTQConfig,
    "sparse_gpt": ModuleSparseGPTConfig,
    "sparsegpt": ModuleSparseGPTConfig,
}
_SECTIONS = ("module_type_configs", "module_name_configs")


@layered
class LayerwiseCompressorConfig(CalibratedConfig):
    """Configure which modules to compress layer by layer, by which algorithm each, and with which calibration data.

    The `algorithm` of a module configuration is `gptq` (the default) or `sparse_gpt`.
    """

    positional: ClassVar[tuple[str, ...]] = (
        "layers",
        "global_config",
        "module_type_configs",
        "module_name_configs",
        "input_cacher",
        "calibration_nsamples",
    )

    module_config: ClassVar[type[ModuleConfig]] = ModuleLayerwiseConfig

    layers: list[Any] | None = option(
        default=None,
        doc="Blocks of the model, compressed one after another on the outputs of those before: modules, their names or "
        "regular expressions. Weights outside of them are excluded. None: the children of the model, and all weights.",
    )
    input_cacher: str = option(
        default="default",
        one_of=("default", "gpt"),
        doc="Accepted for compatibility: the inputs of blocks are recorded for every model in the same way.",
    )

    def set_global(self, global_config: BySize[Any] | None) -> Self:
        """Set the configuration of every module that no other level mentions, and return self."""
        return super().set_global(_checked(global_config, "global_config"))

    def set_module_type(self, object_type: type | str, opt_config: BySize[Any] | None) -> Self:
        """Set the configuration of a class of modules, and return self."""
        return super().set_module_type(object_type, _checked(opt_config, "module_type_configs"))

    def set_module_name(self, module_name: str, opt_config: BySize[Any] | None) -> Self:
        """Set the configuration of the module of this name, or of all that match the pattern, and return self."""
        return super().set_module_name(module_name, _checked(opt_config, "module_name_configs"))

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the options with every module configuration in the class of its algorithm; modules as a list."""
        problems: list[Problem] = []
        written = dict(data)
        if isinstance(data.get("layers"), Iterable) and not isinstance(data["layers"], str | Mapping):
            written["layers"] = list(data["layers"])
        for section in _SECTIONS:
            if isinstance(data.get(section), Mapping):
                written[section] = {
                    key: _typed(value, join_path(section, str(key)), problems) for key, value in data[section].items()
                }
        if "global_config" in data:
            written["global_config"] = _typed(data["global_config"], "global_config", problems)
        if problems:
            raise InvalidError(problems)
        if not any(written.get(level) for level in ("global_config", *_SECTIONS)):
            written["global_config"] = ModuleGPTQConfig()
        return written

    def problems(self) -> Iterable[Problem]:
        """Refuse lists whose entries have several algorithms."""
        levels = {"global_config": self.global_config}
        for section in _SECTIONS:
            levels |= {join_path(section, key): value for key, value in getattr(self, section).items()}
        for path, value in levels.items():
            algorithms = sorted({algorithm_of(config) for config in entries(value)})
            if len(algorithms) > 1:
                yield Problem(
                    path, f"its entries have the algorithms {', '.join(algorithms)}; give all of them the same"
                )

    def stages(self) -> dict[str, CompressionConfig[Any]]:
        """Return what each algorithm has to do: its configuration, in which modules of the others are excluded."""
        classes = {"sparse_gpt": SparseGPTConfig, "gptq": GPTQConfig, "gptq_palette": GPTQConfig}
        used = {algorithm_of(config) for config in self.module_configs()}
        return {name: self._only(name, config) for name, config in classes.items() if name in used}

    def _only(self, algorithm: str, config: Callable[..., C]) -> C:
        def own(value: Any) -> Any:
            return value if any(algorithm_of(entry) == algorithm for entry in entries(value)) else None

        return config(
            global_config=own(self.global_config),
            module_type_configs={key: own(value) for key, value in self.module_type_configs.items()},
            module_name_configs={key: own(value) for key, value in self.module_name_configs.items()},
            calibration_nsamples=self.calibration_nsamples,
        )


def algorithm_of(config: ModuleLayerwiseConfig) -> str:
    """Return the name under which the algorithm of a module configuration is registered."""
    if isinstance(config, ModuleSparseGPTConfig):
        return "sparse_gpt"
    return "gptq_palette" if isinstance(config, ModuleGPTQConfig) and config.makes_palette else "gptq"


def _checked(config: Any, path: str) -> Any:
    problems: list[Problem] = []
    typed = _typed(config, path, problems)
    raise_problems(problems, subject=LayerwiseCompressorConfig.__name__)
    return typed


def _typed(value: Any, path: str, problems: list[Problem]) -> Any:
    """Return a level with its plain mappings as configurations; what is neither is left to the base class to refuse."""
    if isinstance(value, list | tuple):
        return [_typed(entry, f"{path}[{place}]", problems) for place, entry in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    algorithm = value.get("algorithm", "gptq")
    chosen = _MODULE_CONFIGS.get(algorithm) if isinstance(algorithm, str) else None
    if chosen is None:
        problems.append(Problem(f"{path}.algorithm", f"must be 'gptq' or 'sparse_gpt', got {algorithm!r}"))
        return None
    config, wrong = structure(chosen, value, path)
    problems.extend(wrong)
    return config
