"""Image inputs: PIL images and arrays as cameras give them, in the colour layout of the package."""

import numpy as np
import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import Executable, diff, run
from corepress.coreml._coremltools import ct

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)


class Picture:
    """What is used of a PIL image."""

    mode = "RGBA"

    def __init__(self, pixels):
        self.pixels = pixels

    def convert(self, mode):
        return self.pixels if mode == "RGB" else self.pixels[:, :, 1]


def package(channels, **options):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(channels, 4, 3)).eval()
    traced = torch.jit.trace(network, torch.ones(1, channels, 8, 6))
    image = ct.ImageType(name="image", shape=(1, channels, 8, 6), **options)
    mlmodel = ct.convert(
        traced, inputs=[image], minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32
    )
    return network, Executable(mlmodel), mlmodel


@pytest.mark.parametrize("given", [PIXELS, torch.from_numpy(PIXELS), Picture(PIXELS)], ids=["array", "tensor", "PIL"])
@pytest.mark.parametrize("layout", ["RGB", "BGR"])
def test_an_image_is_scaled_and_ordered_as_the_package_says(given, layout):
    network, executable, _ = package(3, color_layout=ct.colorlayout[layout], scale=1 / 255, bias=[-0.5, -0.4, -0.3])
    (found,) = executable.run({"image": given}).values()
    ordered = PIXELS[:, :, ::-1] if layout == "BGR" else PIXELS
    seen = torch.tensor(ordered.transpose(2, 0, 1)[None] / 255 - np.reshape([0.5, 0.4, 0.3], (3, 1, 1))).float()
    torch.testing.assert_close(torch.from_numpy(found), network(seen).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("given", [PIXELS[:, :, 1], PIXELS[:, :, 1:2], Picture(PIXELS)], ids=["2-D", "3-D", "PIL"])
def test_a_gray_image_has_one_channel(given):
    network, executable, _ = package(1, color_layout=ct.colorlayout.GRAYSCALE)
    (found,) = executable.run({"image": given}).values()
    seen = torch.tensor(PIXELS[:, :, 1][None, None]).float()
    torch.testing.assert_close(torch.from_numpy(found), network(seen).detach(), rtol=1e-4, atol=1e-2)


def test_an_array_of_pixels_in_the_order_of_the_program_is_taken_as_it_is():
    network, executable, _ = package(3)
    ordered = PIXELS.transpose(2, 0, 1)[None].astype(np.float32)
    (found,) = executable.run({"image": ordered}).values()
    torch.testing.assert_close(torch.from_numpy(found), network(torch.tensor(ordered)).detach(), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("given", [PIXELS, Picture(PIXELS)], ids=["array", "PIL"])
@pytest.mark.parametrize("stages", [["gptq"], ["rtn", "activation"]])
def test_images_are_calibration_data(given, stages):
    _, _, mlmodel = package(3, color_layout=ct.colorlayout.BGR, scale=1 / 255)
    ordered = np.ascontiguousarray(PIXELS[:, :, ::-1].transpose(2, 0, 1)[None])
    found, wanted = (
        Pipeline([Stage(name) for name in stages]).compress(mlmodel, data=[data])
        for data in ({"image": given}, {"image": ordered})
    )
    assert all(row.equal for row in diff(found, wanted).weights)
    (one,), (other,) = (run(each, {"image": PIXELS}).values() for each in (found, wanted))
    assert np.array_equal(one, other)
