"""Apply quantizers at the sites of a torch model whenever it is called."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from torch import Tensor, nn

from corepress.algorithm import NonFiniteInputError
from corepress.calibration.nested import rebuilt
from corepress.errors import PlanError
from corepress.targets.torch.activations.call_graph import Point, Site
from corepress.targets.torch.activations.frames import ModuleMode
from corepress.targets.torch.activations.operations import OPERATIONS, is_activation, kind_of
from corepress.warn import warn_user

_WATCHED = {kind for kind, operation in OPERATIONS.items() if operation.role not in ("moved", "lookup", "float")}


@attrs.define(eq=False)
class _AtSite:
    """The quantizers of one site."""

    inputs: dict[int, nn.Module] = attrs.field(factory=dict)
    output: nn.Module | None = None


class QuantizingMode(ModuleMode):
    """Quantizes what calls of torch functions read and compute.

    `recorded` are the sites that are known. A call at another one, which the example inputs did not reach, stays in
    float, with one warning.
    """

    def __init__(self, owner: str, quantizers: Mapping[Point, nn.Module], recorded: Iterable[Site]) -> None:
        super().__init__()
        self.owner = owner
        self.recorded = frozenset(recorded)
        # Plain tuples: torch.export follows them, where it would stop at objects.
        self._recorded = {_key(site) for site in self.recorded}
        self.replace(quantizers)

    def replace(self, quantizers: Mapping[Point, nn.Module]) -> None:
        """Apply other quantizers from now on."""
        self.quantizers = dict(quantizers)
        self._sites: dict[tuple[str, str, int], _AtSite] = {}
        for point, quantizer in quantizers.items():
            site = self._sites.setdefault(_key(point.site), _AtSite())
            if point.role == "input":
                site.inputs[point.index] = quantizer
            else:
                site.output = quantizer

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a torch function, with quantized activations where its site has quantizers."""
        given = dict(kwargs or {})
        kind = kind_of(func)
        frame = self.frame() if kind in _WATCHED else None
        if frame is None or kind is None:
            return func(*args, **given)
        activations = list(OPERATIONS[kind].activations(args, given))
        if not any(is_activation(tensor) for _, tensor in activations):
            return func(*args, **given)
        key = (frame.path, kind, frame.next_ordinal(kind))
        site = self._sites.get(key)
        if site is None:
            if key not in self._recorded:
                self._tell_of(key)
            return func(*args, **given)
        if site.inputs:
            replaced = {
                path: _shown(site.inputs[index], tensor, key)
                for index, (path, tensor) in enumerate(activations)
                if index in site.inputs
            }
            args, given = rebuilt((args, given), lambda path, leaf: replaced.get(path, leaf))
        result = func(*args, **given)
        return result if site.output is None else _with_first_shown(site.output, result, key)

    def _tell_of(self, key: tuple[str, str, int]) -> None:
        self._recorded.add(key)
        warn_user(
            f"the example inputs did not reach {Site(*key)}, whose activations stay in float; "
            "pass example_inputs to prepare() that do"
        )


def _shown(quantizer: nn.Module, values: Tensor, key: tuple[str, str, int]) -> Tensor:
    try:
        shown: Tensor = quantizer(values)
    except NonFiniteInputError as error:
        raise PlanError(f"the activations of {Site(*key)} cannot be quantized: {error}") from error
    return shown


def _with_first_shown(quantizer: nn.Module, result: Any, key: tuple[str, str, int]) -> Any:
    """Return a result as a quantizer shows it; of several tensors, the first."""
    if isinstance(result, Tensor):
        return _shown(quantizer, result, key)
    return type(result)((_shown(quantizer, result[0], key), *result[1:]))


def _key(site: Site) -> tuple[str, str, int]:
    return site.module, site.kind, site.ordinal
