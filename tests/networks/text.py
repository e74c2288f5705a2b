"""A small network over token ids: tied embedding, 1-D convolutions with batch norm, self- and cross-attention."""

from torch import Tensor, nn


class TextTagger(nn.Module):
    def __init__(self, vocabulary: int = 50, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm1d(width)
        self.up = nn.ConvTranspose1d(width, width, 3, padding=1)
        self.encoder = nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True)
        self.cross = nn.MultiheadAttention(width, 2, batch_first=True)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids).transpose(1, 2)
        x = self.up(self.norm(self.conv(x)).relu()).transpose(1, 2)
        memory = self.encoder(x)
        return self.head(self.cross(x, memory, memory)[0])
