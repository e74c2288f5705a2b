"""Compressed packages compute with the weights that they decode to."""

import numpy as np
import pytest
import torch
from tests.networks.images import SmallConvNet

from corepress.coreml import convert, run
from corepress.coreml._coremltools import ct, mb

IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_compressed_package_agrees_with_the_compressed_model(encodings, compress, error):
    torch.manual_seed(0)
    model = compress(
        SmallConvNet().eval(),
        {"second.weight": encodings.palette((8, 4, 3, 3), 4), "fc.weight": encodings.affine((10, 8), 8, (10, 1))},
    )
    for precision, tolerance in ((ct.precision.FLOAT32, 1e-5), (ct.precision.FLOAT16, 2e-3)):
        (found,) = run(convert(model, IMAGE, compute_precision=precision), {"image": IMAGE}).values()
        with torch.no_grad():
            assert error(found, model(IMAGE)) < tolerance


class Layers(torch.nn.Module):
    """Many layers beside each other, by number."""

    def __init__(self, count):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(12, 8) for _ in range(count))

    def forward(self, x):
        return torch.stack([layer(x) for layer in self.layers])


def test_every_form_of_a_weight_is_decoded(every_form, compress, error):
    x = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    wanted = {f"layers.{i}.weight": encoding for i, encoding in enumerate(every_form.values())}
    model = compress(Layers(len(every_form)).eval(), wanted)
    (found,) = run(convert(model, x, compute_precision=ct.precision.FLOAT32), {"x": x}).values()
    with torch.no_grad():
        outputs = model(x)
    errors = {name: error(found[i], outputs[i]) for i, name in enumerate(every_form)}
    assert {name: size for name, size in errors.items() if size > 1e-5} == {}


@pytest.mark.parametrize("mode", ["linear_symmetric", "linear"])
def test_packages_of_the_stock_tools_are_decoded(mode, error):
    torch.manual_seed(0)
    model = SmallConvNet().eval()
    options = {"minimum_deployment_target": "iOS16", "compute_precision": ct.precision.FLOAT32}
    mlmodel = convert(model, IMAGE, **options)
    config = ct.optimize.coreml.OpLinearQuantizerConfig(mode=mode, weight_threshold=0)
    quantized = ct.optimize.coreml.linear_quantize_weights(
        mlmodel, ct.optimize.coreml.OptimizationConfig(global_config=config)
    )
    plain = ct.optimize.coreml.decompress_weights(quantized)
    ((found,), (wanted,)) = (run(m, {"image": IMAGE}).values() for m in (quantized, plain))
    assert error(found, wanted) < 1e-6


def test_a_weight_that_is_an_output_is_decoded(program):
    def function(x):
        weight = mb.constexpr_blockwise_shift_scale(data=np.int8([[1, 2], [3, -4]]), scale=np.float32([[0.5], [2]]))
        return mb.add(x=x, y=weight)

    (found,) = run(program(function, {"x": np.zeros((2, 2), np.float32)}), {"x": np.zeros((2, 2))}).values()
    assert found.tolist() == [[0.5, 1], [6, -8]]
