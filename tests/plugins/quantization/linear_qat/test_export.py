"""Finished models of every kind of layer: traced, exported, converted, verified, and run in the interpreter."""

import pytest
import torch
from torch import nn

from corepress.coreml import convert, run, verify
from corepress.coreml.program import load_program
from corepress_plugins.quantization import LinearQuantizer


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(16, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, tokens):
        x = self.table(tokens)
        return self.head(self.norm(x + self.attention(x, x, x, need_weights=False)[0]))


def normalized(layer, norm):
    return nn.Sequential(layer, norm, nn.ReLU(), nn.Flatten())


NETWORKS = {
    "conv1d": (lambda: normalized(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8)), (4, 3, 9)),
    "conv2d": (lambda: normalized(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)), (4, 3, 8, 8)),
    "conv3d": (lambda: normalized(nn.Conv3d(3, 8, 2), nn.BatchNorm3d(8)), (4, 3, 4, 4, 4)),
    "grouped": (lambda: normalized(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8)), (4, 4, 6, 6)),
    "transposed": (lambda: normalized(nn.ConvTranspose2d(3, 8, 3), nn.BatchNorm2d(8)), (4, 3, 5, 5)),
    "linear": (lambda: normalized(nn.Linear(6, 8), nn.BatchNorm1d(8)), (4, 6)),
    "attention": (Attention, None),
}
OPTIONS = {
    "W8A8": ({}, "iOS17"),
    "W8A8 affine": ({"quantization_scheme": "affine", "weight_dtype": "uint8"}, "iOS17"),
    "W4A8": ({"weight_dtype": "int4"}, "iOS18"),
    "A8": ({"weight_dtype": "float32"}, "iOS17"),
    "W8": ({"activation_dtype": "float32"}, "iOS16"),
}


def finished(kind, options):
    torch.manual_seed(0)
    make, shape = NETWORKS[kind]
    inputs = torch.randint(0, 16, (4, 5)) if shape is None else torch.randn(shape)
    quantizer = LinearQuantizer(make(), {"global_config": options})
    prepared = quantizer.prepare((inputs,))
    for _ in range(2):
        prepared(inputs).square().mean().backward()
        quantizer.step()
    return quantizer, quantizer.finalize(), inputs


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_package_holds_the_weights_and_computes_the_same(kind, options):
    chosen, target = OPTIONS[options]
    quantizer, model, inputs = finished(kind, chosen)
    expected = model(inputs)

    package = convert(model, (inputs,), minimum_deployment_target=target)
    verify(package, model, (inputs,))

    described = package.get_spec().description.input[0].name
    given = inputs.int() if inputs.dtype is torch.int64 else inputs
    (computed,) = run(package, {described: given.numpy()}).values()
    scales = [float(module.scale) for name, module in model.named_modules() if "activation_quantizers." in name]
    # Half precision may round a value to the neighbouring integer, once in each layer.
    step = max(scales, default=0.0) * max(len(scales), 1) + 2e-2 * float(expected.abs().max())
    assert float((torch.as_tensor(computed) - expected).abs().max()) <= step
    ops = {op.op_type for op in load_program(package).functions["main"].operations}
    assert ("quantize" in ops) == ("dequantize" in ops) == (options != "W8")
    if options != "A8":
        weights = {row.form for row in quantizer.report().values() if row.stored and row.status == "compressed"}
        assert weights == {{"W8A8 affine": "uint8", "W4A8": "int4"}.get(options, "int8")}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_finished_model_is_traced_and_exported(kind):
    _, model, inputs = finished(kind, {})
    expected = model(inputs)
    assert torch.equal(torch.jit.trace(model, (inputs,))(inputs), expected)
    assert torch.equal(torch.export.export(model, (inputs,)).module()(inputs), expected)
