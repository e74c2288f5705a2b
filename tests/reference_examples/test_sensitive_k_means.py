"""The sensitive k-means example of the reference documentation, with its import lines changed."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from corepress import coreml
from corepress_plugins.palettization import SKMPalettizer, SKMPalettizerConfig

RECIPE = """
global_config:
  n_bits: 4
module_type_configs:
  Linear:
    n_bits: 6
module_name_configs:
  conv1: null
  conv3: null
calibration_nsamples: 64
"""


class Net(nn.Module):
    """The modules that the example names."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3)
        self.conv2 = nn.Conv2d(8, 16, 3)
        self.conv3 = nn.Conv2d(16, 8, 3)
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        for layer in (self.conv1, self.conv2, self.conv3):
            x = torch.relu(layer(x))
        return F.log_softmax(self.fc(x.mean((2, 3))), dim=1)


@pytest.fixture
def torch_model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net()


@pytest.fixture
def calibration_data():
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.rand(2, 3, 10, 10, generator=generator), torch.randint(0, 10, (2,), generator=generator))
        for _ in range(64)
    ]


@pytest.mark.parametrize(
    "batches",
    [64, pytest.param(8, marks=pytest.mark.filterwarnings("ignore:the calibration data ended after 8 of the 64"))],
)
def test_four_bits_with_exceptions(torch_model, calibration_data, tmp_path, monkeypatch, batches):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "palettization_config.yaml").write_text(RECIPE)

    palettization_config = SKMPalettizerConfig.from_yaml("palettization_config.yaml")
    # create the loss function
    loss_fn = lambda mod, dat: F.nll_loss(mod(dat[0]), dat[1])  # noqa: E731

    palettizer = SKMPalettizer(torch_model, palettization_config)
    palettized_torch_model = palettizer.compress(dataloader=calibration_data[:batches], loss_fn=loss_fn)

    assert palettized_torch_model.conv2.weight.unique().numel() == 16
    assert palettized_torch_model.fc.weight.unique().numel() == 64
    assert torch.equal(palettized_torch_model.conv1.weight, torch_model.conv1.weight)
    assert torch.equal(palettized_torch_model.conv3.weight, torch_model.conv3.weight)
    palettized_torch_model.eval()
    mlmodel = coreml.convert(palettized_torch_model, torch.rand(1, 3, 10, 10), minimum_deployment_target="iOS18")
    coreml.verify(mlmodel, palettized_torch_model)
