"""Recurrent networks in small, and the encoder of torch."""

from torch import Tensor, nn


class Recurrent(nn.Module):
    """A recurrent layer and a Linear layer over its last step; `kind` is LSTM, GRU or RNN."""

    def __init__(self, kind: type[nn.Module], **options: bool | int) -> None:
        super().__init__()
        self.layer = kind(8, 16, batch_first=True, **options)
        self.head = nn.Linear(32 if options.get("bidirectional") else 16, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, _ = self.layer(x)
        return y, self.head(y[:, -1])


class Encoder(nn.Module):
    """The transformer encoder of torch."""

    def __init__(self, width: int = 32, layers: int = 1) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x)
