"""Placement, scales and zero points beside those of coremltools, where it is right."""

import copy
import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from corepress.targets.torch.activations.attachment import quantizing_modes
from corepress_plugins.quantization import LinearQuantizer
from corepress_plugins.quantization.linear_qat.weight_simulator import WeightSimulator


class Chain(nn.Sequential):
    """Convolutions with normalization and rectifiers."""

    shape = (2, 3, 8, 8)

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=4),
            nn.ReLU6(),
            nn.Conv2d(8, 4, 1),
        )


class Residual(nn.Module):
    """A sum behind a normalization, with a functional rectifier."""

    shape = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.last = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.last(functional.relu(self.norm(self.conv(x)) + x))


class Concatenation(nn.Module):
    """Two branches that are joined, and share a quantizer."""

    shape = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.last(torch.cat([self.left(x), self.right(x)], 1))


class Pools(nn.Module):
    """Pools and flattening, which share the quantizer of what they read."""

    shape = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 1), nn.Linear(4, 3)
        self.largest, self.average = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.linear(torch.flatten(self.average(self.largest(functional.relu(self.conv(x)))), 1))


class Attention(nn.Module):
    """Attention from matrix products, behind a layer normalization and with a residual."""

    shape = (2, 5, 8)

    def __init__(self):
        super().__init__()
        self.query, self.key, self.mixed, self.value, self.out = (nn.Linear(n, n) for n in (8, 8, 5, 8, 8))
        # The peer would round the scores themselves to the range of the softmax if it came right behind them.
        self.norm, self.softmax = nn.LayerNorm(8), nn.Softmax(-1)

    def forward(self, x):
        y = self.norm(x)
        # The peer would observe a transposed key a second time.
        scores = torch.einsum("bij,bkj->bik", self.query(y), self.key(y))
        weights = self.softmax(self.mixed(scores))
        return x + self.out(torch.matmul(weights, self.value(y)))


class Gate(nn.Module):
    """Squeeze and excitation, with dropout."""

    shape = (2, 3, 8, 8)

    def __init__(self):
        super().__init__()
        self.conv, self.gate, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)
        self.relu, self.pool, self.sigmoid, self.dropout = (
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Sigmoid(),
            nn.Dropout(0.0),
        )

    def forward(self, x):
        y = self.relu(self.conv(x))
        return self.last(self.dropout(y * self.sigmoid(self.gate(self.pool(y)))))


class Functions(nn.Sequential):
    """Activation functions behind linear layers."""

    shape = (2, 5, 8)

    def __init__(self):
        super().__init__(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Hardswish(), nn.Linear(8, 8), nn.GELU())


class Upwards(nn.Sequential):
    """A transposed convolution with normalization."""

    shape = (2, 3, 8, 8)

    def __init__(self):
        super().__init__(nn.ConvTranspose2d(3, 4, 2, 2), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.Conv2d(4, 2, 1))


@pytest.fixture(autouse=True)
def quiet():
    """Silence the remarks of the peer."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


def network(kind):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return kind(), [torch.randn(kind.shape) for _ in range(4)]


def ours(model, batches):
    """Return the scales and zero points of activations in ascending order, and the scales of weights."""
    prepared = LinearQuantizer(model).prepare(batches[0]).train()
    for batch in batches:
        prepared(batch)
    (mode,) = quantizing_modes(prepared)
    quantizers = {id(quantizer): quantizer for quantizer in mode.quantizers.values()}.values()
    found = [quantizer.quantization() for quantizer in quantizers]
    weights = [m.rows.scaling()[0] for m in prepared.modules() if isinstance(m, WeightSimulator)]
    return sorted((each.scale, each.zero_point) for each in found), weights


def theirs(model, batches):
    from coremltools.optimize.torch.quantization import LinearQuantizer as Peer

    prepared = Peer(copy.deepcopy(model)).prepare(example_inputs=(batches[0],)).train()
    for batch in batches:
        prepared(batch)
    activations, weights = [], []
    for name, module in prepared.named_modules():
        if name.startswith("activation_post_process") and "." not in name:
            scale, zero_point = module.calculate_qparams()
            activations.append((float(scale), int(zero_point)))
        elif name.endswith("weight_fake_quant"):
            weights.append(module.calculate_qparams()[0])
    return sorted(activations), weights


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", [Chain, Residual, Concatenation, Pools, Attention, Gate, Functions, Upwards], ids=lambda kind: kind.__name__
)
def test_quantizers_are_where_the_peer_has_them_with_the_same_scales(kind):
    model, batches = network(kind)
    (activations, weights), (expected, expected_weights) = ours(model, batches), theirs(model, batches)
    assert [zero_point for _, zero_point in activations] == [zero_point for _, zero_point in expected]
    # Weights differ by the rounding of their scales to half precision, and what is computed with them a little more.
    for (scale, _), (other, _) in zip(activations, expected, strict=True):
        assert scale == pytest.approx(other, rel=0.03)
    for scales, others in zip(weights, expected_weights, strict=True):
        # The peer gives transposed convolutions a scale for each input channel.
        if kind is not Upwards or len(scales) == len(others):
            torch.testing.assert_close(scales, others.flatten(), rtol=5e-3, atol=0)


@pytest.mark.filterwarnings("ignore")
def test_a_product_with_a_number_has_a_scale_of_its_own():
    """The peer lets it share that of the other factor, which is too large by as much."""
    model = nn.Sequential(nn.Linear(8, 8), Scaled(), nn.Linear(8, 8))
    batches = [torch.randn(2, 8, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    prepared = LinearQuantizer(model).prepare(batches[0]).train()
    for batch in batches:
        prepared(batch)
    (mode,) = quantizing_modes(prepared)
    scales = {str(point): quantizer.quantization().scale for point, quantizer in mode.quantizers.items()}
    assert scales["1:mul.output"] == pytest.approx(scales["0:linear.output"] / 10, rel=0.05)


class Scaled(nn.Module):
    def forward(self, x):
        return x * 0.1
