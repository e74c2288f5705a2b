"""Who can do it: the hooks of a plugin, the descriptors it returns, and the registry that finds them.

A plugin is a small module that an entry point of the group `corepress.plugins` names. It marks its functions with
`hookimpl`.
"""

from corepress.plugin.hookspecs import hookimpl
from corepress.plugin.records import PluginRecord, PluginWarning
from corepress.plugin.registry import Registry, registry, using_registry
from corepress.plugin.spec import API_VERSION, AlgorithmSpec, MilOp, ModuleKind, WeightLayout

__all__ = [
    "API_VERSION",
    "AlgorithmSpec",
    "MilOp",
    "ModuleKind",
    "PluginRecord",
    "PluginWarning",
    "Registry",
    "WeightLayout",
    "hookimpl",
    "registry",
    "using_registry",
]
