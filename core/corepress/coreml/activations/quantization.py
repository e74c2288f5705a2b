"""Activation quantization of a program: check, calibrate, and only then write."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from corepress.algorithm import ActivationAlgorithm, ActivationQuantization, Observer
from corepress.blame import blamed, class_name
from corepress.config.suggestions import did_you_mean
from corepress.coreml._coremltools import ct
from corepress.coreml.activations.calibration import Key, calibrate
from corepress.coreml.activations.pairs import PairWriter
from corepress.coreml.activations.sites import ActivationSite, sites
from corepress.coreml.program import chosen_function
from corepress.coreml.storage.builder import Var
from corepress.errors import ExportError


@attrs.frozen
class _Scheme:
    """How activations are quantized: an algorithm and its configuration, equal ones only once."""

    algorithm: ActivationAlgorithm
    config: Any


@attrs.frozen(eq=False)
class _Place:
    """A chosen site: the number of its scheme, the values to quantize before it, and the one behind it."""

    site: ActivationSite
    scheme: int
    inputs: Mapping[str, Var]
    result: Var | None

    @property
    def keys(self) -> list[Key]:
        """The values to be quantized, by name and scheme."""
        result = [] if self.result is None else [self.result]
        return [(var.name, self.scheme) for var in (*self.inputs.values(), *result)]


def quantize_activations(
    program: Any,
    chosen: Mapping[str, tuple[ActivationAlgorithm, Any]],
    data: Iterable[Any],
    description: Any = None,
) -> list[str]:
    """Quantize what the chosen operations of a program read and compute, with ranges calibrated over samples, in place.

    Every chosen operation gets a `quantize` and a `dequantize` before each live input, and behind its result or that of
    the activation fused with it, unless that is an output of the program. A value that is quantized alike for several
    operations is quantized once. An operation that reads or computes infinite values, or nothing but empty ones, is
    left alone; the names of these are returned.

    Args:
        program: a MIL program of iOS17 or later.
        chosen: the algorithm and its configuration for names of sites.
        data: samples of the program's inputs: dicts of arrays by name, arrays, or tuples of them in the program's
            order. Their ranges are gathered over all of them; states begin as zeros in each.
        description: what the model of the program says of its inputs, such as which are images.

    Raises:
        ExportError: the program is too old, a name is that of no site, or a sample is wrong; nothing is changed then.
        PlanError: the data is empty.
    """
    if chosen_function(program).opset_version < ct.target.iOS17:
        raise ExportError("activations can be quantized from iOS17 on; convert with minimum_deployment_target='iOS17'")
    schemes: list[_Scheme] = []
    places = _places(program, chosen, schemes)
    wanted = list(dict.fromkeys(key for place in places for key in place.keys))
    quantizations = _quantizations(program, wanted, schemes, data, description) if wanted else {}
    left = [place.site.name for place in places if any(key not in quantizations for key in place.keys)]
    # What was to be quantized for one of these may have to be quantized behind the operation that computes it.
    rest = _places(program, {name: scheme for name, scheme in chosen.items() if name not in left}, schemes)
    _write(program, [place for place in rest if all(key in quantizations for key in place.keys)], quantizations)
    return left


def _places(
    program: Any, chosen: Mapping[str, tuple[ActivationAlgorithm, Any]], schemes: list[_Scheme]
) -> list[_Place]:
    """Return the chosen places in the order of the program; schemes that are not in the list yet are added to it."""
    available = {site.name: site for site in sites(program)}
    for name in chosen:
        if name not in available:
            near = did_you_mean(name, available)
            raise ExportError(f"the program has no operation {name!r} whose activations can be quantized{near}")
    places = []
    for site in (site for name, site in available.items() if name in chosen):
        scheme = _Scheme(*chosen[site.name])
        if scheme not in schemes:
            schemes.append(scheme)
        places.append(_Place(site, schemes.index(scheme), site.inputs, site.result(chosen)))
    return places


def _quantizations(
    program: Any, wanted: list[Key], schemes: list[_Scheme], data: Iterable[Any], description: Any
) -> dict[Key, ActivationQuantization]:
    def observer(number: int) -> Observer:
        return schemes[number].algorithm.observer(schemes[number].config)

    def quantization(key: Key) -> ActivationQuantization:
        name, number = key
        scheme = schemes[number]
        with blamed(class_name(scheme.algorithm), f"found the quantization of {name}"):
            return scheme.algorithm.quantization(observers[key], scheme.config)

    observers = calibrate(program, wanted, observer, data, description)
    return {key: quantization(key) for key in wanted if key in observers}


def _write(program: Any, places: list[_Place], quantizations: Mapping[Key, ActivationQuantization]) -> None:
    writer = PairWriter(program)
    for place in places:
        if place.result is not None:
            writer.behind(place.result, quantizations[place.result.name, place.scheme])
    for place in places:
        for parameter, var in place.inputs.items():
            writer.before(place.site.op, parameter, quantizations[var.name, place.scheme])
