"""Images as the inputs of a program: pixels in the order of axes and colours that it computes with."""

from typing import Any

import numpy as np
import numpy.typing as npt

_GRAY = "GRAYSCALE"


def colors_of(image: Any) -> str:
    """Return the colour layout that the description of an image input gives: `RGB`, `BGR` or `GRAYSCALE`."""
    field = image.DESCRIPTOR.fields_by_name["colorSpace"]
    return str(field.enum_type.values_by_number[image.colorSpace].name)


def pixels(given: Any, colors: str) -> Any:
    """Return an image as an array (1, channels, height, width); what is no image is returned as it is.

    An image is a PIL image, or a uint8 array (height, width, 3) of RGB pixels or (height, width) of gray ones. Scale
    and bias are operations of the program.
    """
    gray = colors.startswith(_GRAY)
    if hasattr(given, "mode") and hasattr(given, "convert"):
        given = np.asarray(given.convert("L" if gray else "RGB"))
    array = given.numpy() if hasattr(given, "numpy") else given
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        return given
    return _channels_first(array, colors, gray)


def _channels_first(array: npt.NDArray[np.uint8], colors: str, gray: bool) -> npt.NDArray[np.uint8]:
    if gray and array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if gray:
        return array[None, None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] != len("RGB"):
        return array
    ordered = array[:, :, ::-1] if colors == "BGR" else array
    return np.ascontiguousarray(ordered.transpose(2, 0, 1)[None])
