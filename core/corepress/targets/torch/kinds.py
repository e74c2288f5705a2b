"""The torch modules whose weights the core knows; plugins add more through `register_module_kinds`."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import attrs
from torch import nn

from corepress.config.suggestions import did_you_mean
from corepress.errors import PluginError
from corepress.plugin import ModuleKind, WeightLayout, registry
from corepress.plugin.discovery import BLOCK_VARIABLE

_TRANSPOSED = (WeightLayout(output_axis=1, input_axis=0),)
_PROJECTIONS = (
    WeightLayout(parameter="in_proj_weight", stacked=3),
    *(WeightLayout(parameter=name) for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight")),
)

_INCIDENTAL = (WeightLayout(incidental=True),)


def _gates(parts: int, *names: str, apart: bool = False) -> tuple[WeightLayout, ...]:
    return tuple(WeightLayout(parameter=name, parts=parts, apart=apart) for name in names)


_LSTM = (*_gates(4, "weight_ih_l*", "weight_hh_l*"), WeightLayout(parameter="weight_hr_l*"))


def _torch(name: str, kind: str, weights: tuple[WeightLayout, ...] = (WeightLayout(),), **more: object) -> ModuleKind:
    cls = getattr(nn, name)
    return ModuleKind(module=full_name(cls), kind=kind, weights=weights, **more)  # type: ignore[arg-type]


def full_name(cls: type) -> str:
    """Return `module.Class`, the spelling by which a module kind names its class."""
    return f"{cls.__module__}.{cls.__qualname__}"


BUILT_IN: tuple[ModuleKind, ...] = (
    _torch("Linear", "linear"),
    _torch("Conv1d", "conv1d"),
    _torch("Conv2d", "conv2d"),
    _torch("Conv3d", "conv3d"),
    _torch("ConvTranspose1d", "conv_transpose1d", _TRANSPOSED),
    _torch("ConvTranspose2d", "conv_transpose2d", _TRANSPOSED),
    _torch("ConvTranspose3d", "conv_transpose3d", _TRANSPOSED),
    _torch("Embedding", "embedding"),
    _torch("EmbeddingBag", "embedding"),
    _torch("LayerNorm", "layer_norm", _INCIDENTAL),
    _torch("MultiheadAttention", "attention", _PROJECTIONS, owns=("out_proj",)),
    _torch("LSTM", "lstm", _LSTM),
    _torch("GRU", "gru", _gates(3, "weight_ih_l*", "weight_hh_l*", apart=True)),
    _torch("RNN", "rnn", _gates(0, "weight_ih_l*", "weight_hh_l*")),
    *(
        _torch(f"{name}Cell", f"{name.lower()}_cell", _gates(0, "weight_ih", "weight_hh"))
        for name in ("LSTM", "GRU", "RNN")
    ),
    _torch("Bilinear", "bilinear"),
    # Linear layers of GPT-2 and its relatives, by name: transformers need not be installed.
    ModuleKind(module="transformers.pytorch_utils.Conv1D", kind="linear", weights=_TRANSPOSED),
    # Other stacked experts say by an attribute which of their axes are inputs.
    ModuleKind(
        module="transformers.models.llama4.modeling_llama4.Llama4TextExperts",
        kind="experts",
        weights=tuple(
            WeightLayout(parameter=name, output_axis=2, input_axis=1, stack_axis=0)
            for name in ("gate_up_proj", "down_proj")
        ),
    ),
)


class Kinds(dict[str, ModuleKind]):
    """Module kinds by the full name of their class; `providers` are those of plugins."""

    providers: dict[str, list[str]]


def kinds_by_class() -> Kinds:
    """Return every known module kind; a plugin's wins over the core's."""
    kinds = Kinds({kind.module: kind for kind in BUILT_IN})
    kinds.providers = {}
    for kind, provider in registry().kinds_by_provider:
        name = _defined(kind.module)
        kinds[name] = _with_parts(kind, kinds)
        kinds.providers.setdefault(name, []).append(provider)
    return kinds


def _with_parts(kind: ModuleKind, kinds: Mapping[str, ModuleKind]) -> ModuleKind:
    """Return a plugin's description of a class with what is known of how packages hold the parameters of its bases."""
    cls = _imported(kind.module)
    names = [_defined(kind.module)] if cls is None else [full_name(base) for base in cls.__mro__]
    known = next((kinds[name] for name in names if name in kinds), None)
    if known is None:
        return kind
    weights = (layout if layout.parts else _parted(layout, known) for layout in kind.weights)
    return attrs.evolve(kind, weights=tuple(weights))


def _parted(layout: WeightLayout, known: ModuleKind) -> WeightLayout:
    like = next((each for each in known.weights if fnmatchcase(layout.parameter, each.parameter)), layout)
    return attrs.evolve(layout, parts=like.parts, apart=like.apart)


def kind_of(module: nn.Module, kinds: Kinds) -> ModuleKind | None:
    """Return the kind of a module, that of its nearest known base class.

    Raises:
        PluginError: several plugins describe the class.
    """
    name = next((name for name in map(full_name, type(module).__mro__) if name in kinds), None)
    if name is None:
        return None
    providers = kinds.providers.get(name, ())
    if len(providers) > 1:
        raise PluginError(
            f"module class {name} is described by several plugins: {', '.join(providers)}; block all but one with "
            f"{BLOCK_VARIABLE}"
        )
    return kinds[name]


def provider_of(kind: ModuleKind, kinds: Kinds) -> str | None:
    """Return the plugin that describes a class, None for the core."""
    return next(iter(kinds.providers.get(_defined(kind.module), ())), None)


def known_classes(kinds: Sequence[str] = ()) -> tuple[type[nn.Module], ...]:
    """Return the module classes of some kinds of weights, of all by default, as far as they are imported."""
    known = kinds_by_class().items()
    found = [_imported(name) for name, kind in known if not kinds or kind.kind in kinds]
    return tuple(cls for cls in found if cls is not None)


def kinds_without_class() -> Iterator[str]:
    """Say which kinds of plugins name a class that its module, which is imported, does not have."""
    for kind, provider in registry().kinds_by_provider:
        package, _, name = kind.module.rpartition(".")
        module = sys.modules.get(package)
        if module is not None and _imported(kind.module) is None:
            hint = did_you_mean(name, [each for each, value in vars(module).items() if isinstance(value, type)])
            yield f"plugin {provider} describes the module class {kind.module}, and {package} has no such class{hint}"


def _defined(spelling: str) -> str:
    """Return the name by which a class is defined, for a public one such as torch.nn.GRU."""
    cls = _imported(spelling)
    return spelling if cls is None else full_name(cls)


def _imported(name: str) -> type[nn.Module] | None:
    """Return a class by a name of it; a module of the class can only exist if its package is imported."""
    package, _, attribute = name.rpartition(".")
    cls = getattr(sys.modules.get(package), attribute, None)
    return cls if isinstance(cls, type) else None


def spellings(cls: type) -> frozenset[str]:
    """Return the names by which a configuration may mention a module class."""
    names = {cls.__name__, full_name(cls)}
    if cls.__module__.startswith("torch.nn.modules."):
        names.add(f"torch.nn.{cls.__name__}")
    return frozenset(names)


def type_spellings(module: nn.Module) -> tuple[frozenset[str], ...]:
    """Return the spellings of a module's classes, the nearest first, up to and without `nn.Module`."""
    return class_spellings(type(module))


def class_spellings(module_class: type[nn.Module]) -> tuple[frozenset[str], ...]:
    """Return the spellings of a module class and its base classes, the nearest first, without `nn.Module`."""
    classes: Iterable[type] = module_class.__mro__
    return tuple(spellings(cls) for cls in classes if cls not in (nn.Module, object) and issubclass(cls, nn.Module))


def known_types() -> frozenset[str]:
    """Return the spellings of every module class of `torch.nn` and of every known kind."""
    classes = [cls for cls in vars(nn).values() if isinstance(cls, type) and issubclass(cls, nn.Module)]
    return frozenset[str]().union(*map(spellings, classes), kinds_by_class())
