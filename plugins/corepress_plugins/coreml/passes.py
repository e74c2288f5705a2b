"""Configurations inside the passes of coremltools, as `ct.PassPipeline.set_options` takes them.

These passes run within `ct.convert` and work as coremltools does. They want configurations of their own classes: they
are told to accept those of this package too, and get what these stand for.
"""

import sys
from collections.abc import Mapping
from typing import Any

import attrs

from corepress_plugins.coreml.op_config import OpCompressorConfig

_MODULE = "coremltools.optimize.coreml._quantization_passes"
_ATTRIBUTE = "_SUPPORTED_CONFIG_TYPE"


def accept_in_passes(classes: Mapping[str, type[OpCompressorConfig]]) -> None:
    """Let the passes of coremltools accept configurations of classes by the name, where coremltools is imported."""
    module = sys.modules.get(_MODULE)
    for each in vars(module).values() if module is not None else ():
        wanted = vars(each).get(_ATTRIBUTE) if isinstance(each, type) else None
        if wanted is None:
            continue
        accepted = wanted if isinstance(wanted, tuple) else (wanted,)
        mine = (classes[cls.__name__] for cls in accepted if cls.__name__ in classes)
        setattr(each, _ATTRIBUTE, tuple(dict.fromkeys((*accepted, *mine))))


def reference_config(config: OpCompressorConfig | None) -> Any:
    """Return the configuration of coremltools that has the same name and options."""
    if config is None:
        return None
    import coremltools.optimize.coreml as reference

    cls = getattr(reference, type(config).__name__)
    known = {field.alias or field.name for field in attrs.fields(cls)}
    options = {name: _plain(value) for name, value in config.reference_options().items() if name in known}
    return cls(**options)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
