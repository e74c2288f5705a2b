"""Networks for speech and music, whose trained weights others publish.

CREPE: Kim et al., CREPE: A Convolutional Representation for Pitch Estimation (2018). Speaker embeddings: Wan et al.,
Generalized End-to-End Loss for Speaker Verification (2018). Voice activity: the published weights of Silero VAD.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

PITCHES = 360
_EPSILON = 0.0010000000474974513


class Crepe(nn.Module):
    """Probabilities of pitches (batch, 360) of frames (batch, 1024) at 16 kHz; `full` or `tiny`."""

    def __init__(self, capacity: str = "tiny") -> None:
        super().__init__()
        width = 32 if capacity == "full" else 4
        outputs = [32 * width, 4 * width, 4 * width, 4 * width, 8 * width, 16 * width]
        kernels, strides = [512, *[64] * 5], [4, *[1] * 5]
        layers = zip([1, *outputs], outputs, kernels, strides, strict=False)
        for number, (before, after, kernel, stride) in enumerate(layers, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(before, after, (kernel, 1), (stride, 1)))
            self.add_module(f"conv{number}_BN", nn.BatchNorm2d(after, eps=_EPSILON))
        self.classifier = nn.Linear(4 * outputs[-1], PITCHES)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames[:, None, :, None]
        for number in range(1, 7):
            x = F.pad(x, (0, 0, 254, 254) if number == 1 else (0, 0, 31, 32))
            x = torch.relu(self.get_submodule(f"conv{number}")(x))
            x = F.max_pool2d(self.get_submodule(f"conv{number}_BN")(x), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).flatten(1)))


class SpeakerEncoder(nn.Module):
    """Embeddings (batch, 256) of mel spectrograms (batch, frames, 40)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, 256, 3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, mels: Tensor) -> Tensor:
        _, (hidden, _) = self.lstm(mels)
        found = torch.relu(self.linear(hidden[-1]))
        return found / found.norm(dim=1, keepdim=True)


class VoiceActivity(nn.Module):
    """Probability (batch, 1) of speech in a frame (batch, 576) at 16 kHz, with the state (2, batch, 128) behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, 128, bias=False)
        self.conv1, self.conv2 = nn.Conv1d(129, 128, 3, padding=1), nn.Conv1d(128, 64, 3, 2, padding=1)
        self.conv3, self.conv4 = nn.Conv1d(64, 64, 3, 2, padding=1), nn.Conv1d(64, 128, 3, padding=1)
        self.lstm_cell = nn.LSTMCell(128, 128)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, frame: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        real, imaginary = self.stft_conv(F.pad(frame[:, None], (0, 64), "reflect")).chunk(2, dim=1)
        x = torch.sqrt(real**2 + imaginary**2)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = torch.relu(conv(x))
        hidden, cell = self.lstm_cell(x[..., 0], (state[0], state[1]))
        speech = torch.sigmoid(self.final_conv(torch.relu(hidden)[..., None]))
        return speech.mean(dim=2), torch.stack([hidden, cell])
