"""Sampling of images, against torch where torch has the mode."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from corepress.coreml._coremltools import mb

rng = np.random.default_rng(0)
IMAGE = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
GRID = rng.uniform(-1.4, 1.4, size=(2, 6, 7, 2)).astype(np.float32)
OPTIONS = {
    "sampling_mode": "bilinear",
    "padding_mode": "constant",
    "padding_value": 0.0,
    "coordinates_mode": "normalized_minus_one_to_one",
    "align_corners": False,
}


@pytest.mark.parametrize("sampling_mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    ("padding_mode", "torch_mode", "align"),
    [
        ("constant", "zeros", False),
        ("constant", "zeros", True),
        ("border", "border", True),
        ("reflection", "reflection", True),
        ("symmetric", "reflection", False),
    ],
)
def test_an_image_is_sampled_as_torch_does(sampling_mode, padding_mode, torch_mode, align, compute):
    options = OPTIONS | {"sampling_mode": sampling_mode, "padding_mode": padding_mode, "align_corners": align}
    found = compute(lambda x, at: mb.resample(x=x, coordinates=at, **options), {"x": IMAGE, "at": GRID})
    wanted = F.grid_sample(torch.from_numpy(IMAGE), torch.from_numpy(GRID), sampling_mode, torch_mode, align)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


ROW = np.float32([[[[1, 2, 3]]]])


@pytest.mark.parametrize(
    ("padding_mode", "wanted"),
    [
        ("constant", [7, 7, 1, 2, 3, 7, 7]),
        ("border", [1, 1, 1, 2, 3, 3, 3]),
        ("reflection", [3, 2, 1, 2, 3, 2, 1]),
        ("symmetric", [2, 1, 1, 2, 3, 3, 2]),
    ],
)
@pytest.mark.parametrize("align", [True, False])
def test_what_lies_outside_of_an_image_depends_on_the_padding(padding_mode, wanted, align, compute):
    pixels = np.stack([np.arange(-2, 5), np.zeros(7)], -1).astype(np.float32)[None, None]
    options = OPTIONS | {"padding_mode": padding_mode, "coordinates_mode": "unnormalized", "align_corners": align}
    options["padding_value"] = 7.0
    found = compute(lambda x, at: mb.resample(x=x, coordinates=at, **options), {"x": ROW, "at": pixels})
    np.testing.assert_allclose(found[0, 0, 0], wanted, atol=1e-5)


def test_coordinates_from_zero_to_one(compute):
    at = np.float32([[[[0, 0.5], [0.5, 0.5], [1, 0.5]]]])
    options = OPTIONS | {"coordinates_mode": "normalized_zero_to_one", "align_corners": True}
    found = compute(lambda x, at: mb.resample(x=x, coordinates=at, **options), {"x": ROW, "at": at})
    np.testing.assert_allclose(found[0, 0, 0], [1, 2, 3], atol=1e-5)


def test_an_affine_transformation(compute):
    matrix = rng.normal(size=(2, 6)).astype(np.float32)
    options = {"transform_matrix": matrix, "output_height": 3, "output_width": 4, **OPTIONS}
    found = compute(lambda x: mb.affine(x=x, **options), {"x": IMAGE})
    grid = F.affine_grid(torch.from_numpy(matrix).reshape(2, 2, 3), [2, 3, 3, 4], False)
    wanted = F.grid_sample(torch.from_numpy(IMAGE), grid, align_corners=False)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
