"""Whole networks agree with torch."""

import numpy as np
import pytest
import torch
from tests.networks.images import VolumeNet
from tests.networks.mobile import efficientnet, mobilenet_v2, mobilenet_v3
from tests.networks.resnet import BasicBlock
from tests.networks.sequences import Encoder, Recurrent
from tests.networks.text import TextTagger
from tests.networks.transformers import BERT, GPT
from tests.networks.vision import ConvNeXt, Swin, UNet, ViT
from torch import nn

from corepress.coreml import Executable, convert
from corepress.coreml._coremltools import ct


def image(side=32):
    return torch.randn(1, 3, side, side)


def ids(*shape, top=60):
    return torch.randint(0, top, shape, dtype=torch.int32)


def residual(inputs, outputs, stride):
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs, 1, None))


NETWORKS = {
    "ResNet": lambda: (nn.Sequential(nn.Conv2d(3, 16, 3), nn.MaxPool2d(3, 2, 1), residual(16, 32, 2)), image()),
    "MobileNet V2": lambda: (mobilenet_v2(), image()),
    "MobileNet V3": lambda: (mobilenet_v3(), image()),
    "EfficientNet": lambda: (efficientnet(), image()),
    "ViT": lambda: (ViT(), image()),
    "Swin": lambda: (Swin(), image()),
    "ConvNeXt": lambda: (ConvNeXt(), image()),
    "U-Net": lambda: (UNet(), image(16)),
    "BERT": lambda: (BERT(), (ids(1, 12), (ids(1, 12) > 20).int(), ids(1, 12, top=2))),
    "GPT": lambda: (GPT(), ids(1, 12)),
    "TransformerEncoder": lambda: (Encoder(), torch.randn(1, 7, 32)),
    "LSTM": lambda: (Recurrent(nn.LSTM), torch.randn(1, 6, 8)),
    "GRU": lambda: (Recurrent(nn.GRU), torch.randn(1, 6, 8)),
}
MORE_NETWORKS = {
    "LSTM in both directions": lambda: (Recurrent(nn.LSTM, bidirectional=True), torch.randn(1, 6, 8)),
    "RNN": lambda: (Recurrent(nn.RNN), torch.randn(1, 6, 8)),
    "3-D convolutions": lambda: (VolumeNet(), torch.randn(1, 2, 6, 7, 8)),
    "self- and cross-attention": lambda: (TextTagger(), ids(1, 9, top=50)),
}


def build(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (NETWORKS | MORE_NETWORKS)[name]()


@pytest.mark.parametrize("target", ["iOS16", "iOS17", "iOS18"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_float32_program_agrees_with_torch(name, target, errors_of):
    assert max(errors_of(*build(name), target, "fp32")) < 1e-5


@pytest.mark.parametrize("name", MORE_NETWORKS)
def test_more_float32_programs_agree_with_torch(name, errors_of):
    assert max(errors_of(*build(name))) < 1e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_a_float16_program_agrees_with_torch(name, errors_of):
    assert max(errors_of(*build(name), precision="fp16")) < 2e-3


def test_sequences_of_any_length_in_a_range_agree_with_torch(error):
    network, example = build("GPT")
    length = ct.RangeDim(1, 12, default=12)
    options = {"inputs": [ct.TensorType(name="ids", shape=(1, length), dtype=np.int32)]}
    executable = Executable(convert(network.eval(), example, compute_precision=ct.precision.FLOAT32, **options))
    for count in (1, 5, 12):
        (found,) = executable.run({"ids": example[:, :count]}).values()
        with torch.no_grad():
            assert error(found, network(example[:, :count])) < 1e-5
