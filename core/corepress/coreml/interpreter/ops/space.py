"""Moving values between channels or batch and space."""

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.arguments import Ints
from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.ops.window import for_torch


@computes("pixel_shuffle", exact=True)
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    return F.pixel_shuffle(x, upscale_factor)


@computes("pixel_unshuffle", exact=True)
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    return F.pixel_unshuffle(x, downscale_factor)


@computes("depth_to_space", exact=True)
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    n, channels, height, width = x.shape
    kept = channels // block_size**2
    blocks = x.reshape(n, block_size, block_size, kept, height, width).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, kept, height * block_size, width * block_size)


@computes("space_to_depth", exact=True)
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    n, channels, height, width = x.shape
    rows, columns = height // block_size, width // block_size
    blocks = x.reshape(n, channels, rows, block_size, columns, block_size).permute(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, channels * block_size**2, rows, columns)


@computes("space_to_batch", exact=True)
def space_to_batch(x: Tensor, block_shape: Ints, paddings: Ints) -> Tensor:
    x = F.pad(x, for_torch([(paddings[0], paddings[1]), (paddings[2], paddings[3])]))
    (n, channels, height, width), (rows, columns) = x.shape, block_shape
    blocks = x.reshape(n, channels, height // rows, rows, width // columns, columns).permute(3, 5, 0, 1, 2, 4)
    return blocks.reshape(n * rows * columns, channels, height // rows, width // columns)


@computes("batch_to_space", exact=True)
def batch_to_space(x: Tensor, block_shape: Ints, crops: Ints) -> Tensor:
    (n, channels, height, width), (rows, columns) = x.shape, block_shape
    blocks = x.reshape(rows, columns, n // (rows * columns), channels, height, width).permute(2, 3, 4, 0, 5, 1)
    whole = blocks.reshape(n // (rows * columns), channels, height * rows, width * columns)
    return F.pad(whole, [-n for n in for_torch([(crops[0], crops[1]), (crops[2], crops[3])])])


@computes("crop", exact=True)
def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    return F.pad(x, [-n for n in for_torch([(crop_height[0], crop_height[1]), (crop_width[0], crop_width[1])])])
