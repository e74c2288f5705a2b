"""Sampling of images at coordinates."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.handlers import computes

_PADDING = {"constant": "zeros", "border": "border", "reflection": "reflection", "symmetric": "reflection"}


@computes("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    lengths = torch.tensor([x.shape[-1], x.shape[-2]], dtype=torch.float32)
    pixels = _pixels(coordinates.to(torch.float32), lengths, coordinates_mode, align_corners)
    # torch reflects at the centres of the outermost pixels, or at their edges, as its own grid is aligned.
    aligned = padding_mode == "reflection"
    grid = 2 * pixels / (lengths - 1).clamp(min=1) - 1 if aligned else (2 * pixels + 1) / lengths - 1
    filling = padding_value if padding_mode == "constant" else 0.0
    return F.grid_sample(x - filling, grid, sampling_mode, _PADDING[padding_mode], aligned) + filling


@computes("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    size = [x.shape[0], x.shape[1], output_height, output_width]
    if coordinates_mode != "normalized_minus_one_to_one":
        raise ValueError(f"coordinates_mode {coordinates_mode!r} is not known")
    grid = F.affine_grid(transform_matrix.reshape(-1, 2, 3).expand(x.shape[0], 2, 3), size, align_corners)
    return resample(x, grid, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)


def _pixels(coordinates: Tensor, lengths: Tensor, mode: str, align_corners: bool) -> Tensor:
    """Return coordinates (x, y) in pixels; 0 is the centre of the first one."""
    if mode == "unnormalized":
        return coordinates
    fractions = coordinates if mode == "normalized_zero_to_one" else (coordinates + 1) / 2
    return fractions * (lengths - 1) if align_corners else fractions * lengths - 0.5
