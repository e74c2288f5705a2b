"""Options by position stand in the order of the classes of coremltools."""

import attrs
import coremltools.optimize.coreml as coreml
import coremltools.optimize.torch as peer
import pytest

import corepress_plugins as mine

PAIRS = [
    (module, ours, name)
    for module, ours in (
        (peer.pruning, mine.pruning),
        (peer.palettization, mine.palettization),
        (peer.quantization, mine.quantization),
        (peer.layerwise_compression, mine.quantization),
        (coreml, mine.coreml),
    )
    for name in dir(module)
    if attrs.has(getattr(module, name)) and hasattr(ours, name) and hasattr(getattr(ours, name), "option_types")
]


@pytest.mark.parametrize(("module", "ours", "name"), PAIRS, ids=[name for _, _, name in PAIRS])
def test_the_order_is_that_of_the_peer(module, ours, name):
    if name == "OptimizationConfig":
        pytest.skip("it has a constructor of its own")
    cls = getattr(ours, name)
    wanted = [field.name for field in attrs.fields(getattr(module, name)) if field.init and not field.kw_only]
    inherited = [n for n in cls.option_types() if n != "weight_threshold"]
    found = list(cls.positional or inherited)
    assert found[: len(wanted)] == wanted[: len(found)]
