"""Torch models as something to compress: module kinds, handles on weights, simulation, calibration, activations."""

from corepress.lazy import lazy_names

__all__ = ["CallGraph", "record"]

__getattr__ = lazy_names(__name__, {"CallGraph": "activations.call_graph", "record": "activations.recording"})
