"""Post-training quantization of Core ML programs: channels and blocks follow the axes of each operation."""

import pytest
from tests.core.coreml.programs import layers

from corepress import Pipeline, Stage, coreml


@pytest.mark.parametrize(
    ("options", "scales"),
    [
        (
            {},
            {
                "conv_w": (16, 1, 1, 1),
                "depth_w": (16, 1, 1, 1),
                "up_w": (1, 12, 1, 1),
                "linear_w": (20, 1),
                "y_w": (1, 10),
                "ty_w": (14, 1),
                "x_w": (6, 1),
                "tx_w": (1, 4),
            },
        ),
        (
            {"weight_dtype": "int4", "granularity": "per_block", "block_size": 2},
            {
                "conv_w": (16, 4, 1, 1),
                "up_w": (8, 12, 1, 1),
                "linear_w": (20, 72),
                "y_w": (10, 10),
                "ty_w": (14, 5),
                "x_w": (6, 6),
                "tx_w": (3, 4),
            },
        ),
        (
            {"granularity": "per_block", "block_size": [-1, 2], "quantization_scheme": "affine"},
            {
                "conv_w": (1, 4, 1, 1),
                "up_w": (8, 1, 1, 1),
                "linear_w": (1, 72),
                "y_w": (1, 5),
                "ty_w": (1, 5),
                "x_w": (1, 6),
                "tx_w": (1, 2),
            },
        ),
    ],
    ids=["per_channel", "int4 per_block", "affine per_block"],
)
def test_scales_follow_the_axes_of_the_operation(options, scales):
    small = Pipeline([Stage("rtn", {"global_config": options})]).compress(layers())
    found = {w.name: tuple(w.encoding.scale.shape) for w in coreml.read_weights(small) if w.compressed}
    assert found == scales
