"""Mobile networks in small: MobileNet V2 (Sandler et al. 2018), V3 (Howard et al. 2019), EfficientNet (Tan 2019)."""

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Scale channels by gates computed from their means."""

    def __init__(self, channels: int, activation: type[nn.Module], gate: type[nn.Module]) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(channels // 4, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.expand(self.activation(self.reduce(self.pool(x)))))


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, optional squeeze-and-excite, project; with a shortcut where shapes allow."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        activation: type[nn.Module],
        excite: nn.Module | None = None,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.shortcut = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            *_conv(inputs, hidden, 1, 1, activation=activation),
            *_conv(hidden, hidden, kernel, stride, groups=hidden, activation=activation),
            excite or nn.Identity(),
            *_conv(hidden, outputs, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


class MobileNet(nn.Module):
    """A stem, inverted residuals and a classifier, as its three kinds have them."""

    def __init__(self, activation: type[nn.Module], gate: type[nn.Module] | None = None, kernel: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(3, 8, 3, 2, activation=activation))
        blocks = [
            InvertedResidual(
                inputs,
                outputs,
                stride,
                activation,
                SqueezeExcite(4 * inputs, activation, gate) if gate else None,
                kernel,
            )
            for inputs, outputs, stride in ((8, 8, 1), (8, 16, 2))
        ]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 10))

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(image)))


def mobilenet_v2() -> MobileNet:
    return MobileNet(nn.ReLU6)


def mobilenet_v3() -> MobileNet:
    return MobileNet(nn.Hardswish, nn.Hardsigmoid, 5)


def efficientnet() -> MobileNet:
    return MobileNet(nn.SiLU, nn.Sigmoid)


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1, activation: type[nn.Module] | None = None
) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), *([activation()] if activation else [])]
