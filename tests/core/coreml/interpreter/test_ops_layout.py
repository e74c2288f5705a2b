"""Operations that move, scatter and resize values; the expected values follow the reference of MIL."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from corepress.coreml._coremltools import mb

rng = np.random.default_rng(0)
IMAGE = rng.normal(size=(2, 8, 4, 6)).astype(np.float32)


def near(found, wanted):
    assert found.shape == tuple(wanted.shape)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_interleaved_concatenation_takes_turns(compute):
    inputs = {"x": np.float32([[1, 2], [3, 4]]), "y": np.float32([[7, 8], [9, 10]])}
    found = compute(lambda x, y: mb.concat(values=[x, y], axis=0, interleave=True), inputs)
    assert found.tolist() == [[1, 2], [7, 8], [3, 4], [9, 10]]


def test_an_exclusive_sum_begins_with_zero(compute):
    x = np.float32([1, 2, 3])
    assert compute(lambda x: mb.cumsum(x=x, exclusive=True), {"x": x}).tolist() == [0, 1, 3]
    assert compute(lambda x: mb.cumsum(x=x, exclusive=True, reverse=True), {"x": x}).tolist() == [5, 3, 0]


def test_only_the_given_lengths_are_reversed(compute):
    x = np.float32([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = compute(lambda x: mb.reverse_sequence(x=x, lengths=[3, 1], seq_axis=1, batch_axis=0), {"x": x})
    assert found.tolist() == [[3, 2, 1, 4], [5, 6, 7, 8]]


SCATTERED = {
    "update": [9, 2, 5],
    "add": [10, 2, 8],
    "sub": [-8, 2, -2],
    "mul": [9, 2, 15],
    "div": [1 / 9, 2, 3 / 5],
    "max": [9, 2, 5],
    "min": [1, 2, 3],
}


@pytest.mark.parametrize("mode", SCATTERED)
def test_the_scatters_combine_in_the_same_ways(mode, compute):
    data, indices, updates = np.float32([1, 2, 3]), np.int32([-1, 0]), np.float32([5, 9])
    inputs = {"d": data, "i": indices, "u": updates}
    flat = compute(lambda d, i, u: mb.scatter(data=d, indices=i, updates=u, mode=mode), inputs)
    near(flat, np.float32(SCATTERED[mode]))
    along = compute(lambda d, i, u: mb.scatter_along_axis(data=d, indices=i, updates=u, mode=mode), inputs)
    near(along, flat)
    inputs["i"] = indices[:, None]
    near(compute(lambda d, i, u: mb.scatter_nd(data=d, indices=i, updates=u, mode=mode), inputs), flat)


def test_scattering_rows_along_an_inner_axis(compute):
    inputs = {"d": np.zeros((2, 3), np.float32), "u": np.float32([[1, 2], [3, 4]])}
    found = compute(lambda d, u: mb.scatter(data=d, indices=[2, 0], updates=u, axis=1, mode="update"), inputs)
    assert found.tolist() == [[2, 0, 1], [4, 0, 3]]


def test_gather_nd_follows_tuples_of_indices(compute):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert compute(lambda x: mb.gather_nd(x=x, indices=[[0, 1], [2, -1]]), {"x": x}).tolist() == [1, 11]
    assert compute(lambda x: mb.gather_nd(x=x, indices=[[1], [0]]), {"x": x}).tolist() == [x[1].tolist(), x[0].tolist()]
    batched = compute(lambda x: mb.gather_nd(x=x, indices=[[0], [3], [1]], batch_dims=1), {"x": x})
    assert batched.tolist() == [0, 7, 9]


def test_one_hot(compute):
    indices = np.int32([2, 0])
    found = compute(
        lambda i: mb.one_hot(indices=i, one_hot_vector_size=3, on_value=2.0, off_value=-1.0), {"i": indices}
    )
    assert found.tolist() == [[-1, -1, 2], [2, -1, -1]]
    found = compute(lambda i: mb.one_hot(indices=i, one_hot_vector_size=3, axis=0), {"i": indices})
    assert found.tolist() == [[0, 1], [0, 0], [1, 0]]


def test_shuffles_between_channels_and_space(compute):
    x = torch.from_numpy(IMAGE)
    near(compute(lambda x: mb.pixel_shuffle(x=x, upscale_factor=2), {"x": IMAGE}), F.pixel_shuffle(x, 2))
    near(
        compute(lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)), {"x": IMAGE}), F.pixel_unshuffle(x, 2)
    )
    deep = compute(lambda x: mb.space_to_depth(x=x, block_size=2), {"x": IMAGE})
    near(deep[:, 8:16], x[:, :, 0::2, 1::2])
    near(compute(lambda x: mb.depth_to_space(x=x, block_size=2), {"x": deep}), x)


def test_shuffles_between_batch_and_space(compute):
    x = torch.from_numpy(IMAGE)
    many = compute(lambda x: mb.space_to_batch(x=x, block_shape=[2, 3], paddings=[[1, 1], [0, 0]]), {"x": IMAGE})
    near(many[2:4], F.pad(x, (0, 0, 1, 1))[:, :, 0::2, 1::3])
    near(compute(lambda x: mb.batch_to_space(x=x, block_shape=[2, 3], crops=[[1, 1], [0, 0]]), {"x": many}), x)


def test_crop(compute):
    found = compute(lambda x: mb.crop(x=x, crop_height=[1, 0], crop_width=[2, 1]), {"x": IMAGE})
    near(found, IMAGE[:, :, 1:, 2:-1])


def test_sliding_windows(compute):
    x = np.float32([[1, 2, 3, 4, 5]])
    found = compute(lambda x: mb.sliding_windows(x=x, axis=1, size=3, stride=2), {"x": x})
    assert found.tolist() == [[[1, 2, 3], [3, 4, 5]]]


def test_reshape_copies_the_length_where_it_is_zero(compute):
    assert compute(lambda x: mb.reshape(x=x, shape=[0, -1]), {"x": IMAGE}).shape == (2, 192)


def test_reshape_like_joins_lengths_of_other_tensors(compute):
    inputs = {"x": IMAGE, "y": np.zeros((3, 4, 12), np.float32)}
    ranges = {"begins": [1, 1], "ends": [2, 0], "end_masks": [False, True]}
    found = compute(lambda x, y: mb.reshape_like(x=x, ref_tensors=(x, y), **ranges), inputs)
    near(found, IMAGE.reshape(8, 4, 12))


@pytest.mark.parametrize("align", [True, False])
def test_bilinear_upsampling(align, compute):
    sizes = {"scale_factor_height": 2.0, "scale_factor_width": 1.5}
    found = compute(lambda x: mb.upsample_bilinear(x=x, align_corners=align, **sizes), {"x": IMAGE})
    near(found, F.interpolate(torch.from_numpy(IMAGE), (8, 9), mode="bilinear", align_corners=align))


def test_upsampling_by_the_nearest_neighbour(compute):
    sizes = {"scale_factor_height": 2, "scale_factor_width": 3}
    found = compute(lambda x: mb.upsample_nearest_neighbor(x=x, **sizes), {"x": IMAGE})
    near(found, F.interpolate(torch.from_numpy(IMAGE), (8, 18)))
    sizes = {"target_size_height": 3, "target_size_width": 9}
    found = compute(lambda x: mb.resize_nearest_neighbor(x=x, **sizes), {"x": IMAGE})
    near(found, F.interpolate(torch.from_numpy(IMAGE), (3, 9)))


SAMPLED = {
    "STRICT_ALIGN_CORNERS": [0, 0.25, 0.5, 0.75, 1],
    "ALIGN_CORNERS": [0, 0.25, 0.5, 0.75, 1],
    "DEFAULT": [0, 0.4, 0.8, 1, 1],
    "OFFSET_CORNERS": [0.1, 0.3, 0.5, 0.7, 0.9],
    "UNALIGN_CORNERS": [0, 0.1, 0.5, 0.9, 1],
}


@pytest.mark.parametrize("mode", SAMPLED)
def test_resizing_samples_where_its_mode_says(mode, compute):
    x = np.float32([[[0, 1], [0, 1]]])
    sizes = {"target_size_height": 2, "target_size_width": 5, "sampling_mode": mode}
    found = compute(lambda x: mb.resize_bilinear(x=x, **sizes), {"x": x})
    np.testing.assert_allclose(found[0, 0], SAMPLED[mode], atol=1e-6)
    options = {"shape": [0, 5], "resized_dims": np.uint32(2), "sampling_mode": mode}
    near(compute(lambda x: mb.resize(x=x, **options), {"x": x}), found)


def test_aligned_corners_of_a_single_element_are_the_middle(compute):
    sizes = {"target_size_height": 1, "target_size_width": 1, "sampling_mode": "ALIGN_CORNERS"}
    assert compute(lambda x: mb.resize_bilinear(x=x, **sizes), {"x": np.float32([[[0, 1, 5]]])}).item() == 1


def test_resizing_to_the_nearest_neighbour(compute):
    options = {"shape": [1, 6], "resized_dims": np.uint32(2), "interpolation_mode": "NEAREST_NEIGHBOR"}
    x = np.float32([[[0, 1, 5]]])
    assert compute(lambda x: mb.resize(x=x, **options), {"x": x}).tolist() == [[[0, 0, 1, 1, 5, 5]]]


def test_norms_over_batches_instances_and_neighbours(compute):
    x = torch.from_numpy(IMAGE)
    mean, variance = rng.normal(size=8).astype(np.float32), rng.uniform(1, 2, 8).astype(np.float32)
    found = compute(lambda x: mb.batch_norm(x=x, mean=mean, variance=variance, gamma=variance, beta=mean), {"x": IMAGE})
    m, v = torch.from_numpy(mean), torch.from_numpy(variance)
    near(found, F.batch_norm(x, m, v, v, m))
    found = compute(lambda x: mb.instance_norm(x=x, gamma=variance, beta=mean), {"x": IMAGE})
    near(found, F.instance_norm(x, weight=v, bias=m))
    found = compute(lambda x: mb.local_response_norm(x=x, size=3, alpha=0.1), {"x": IMAGE})
    near(found, F.local_response_norm(x, 3, 0.1))


def test_silu(compute):
    near(compute(lambda x: mb.silu(x=x), {"x": IMAGE}), F.silu(torch.from_numpy(IMAGE)))


def test_dequantization_of_an_axis(compute):
    x, zero_point = np.int8([[-3, 5], [7, 100]]), np.int8([1, -2])
    found = compute(
        lambda x: mb.dequantize(input=x, scale=np.float32([0.5, 2]), zero_point=zero_point, axis=0), {"x": x}
    )
    assert found.tolist() == [[-2, 2], [18, 204]]
