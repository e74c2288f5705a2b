"""Crops of images and suppression of boxes, against their documented formulas."""

import numpy as np
import pytest
import torch

from corepress.coreml._coremltools import mb

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 8, 10)).astype(np.float32)
BOXES = np.array([[1.0, 2.0, 5.0, 8.0], [0.0, 0.0, 7.0, 9.0], [2.5, 1.5, 3.5, 6.5]], np.float32)


def bilinear(image, row, column):
    """The value of an image between its pixels."""
    top, left = int(np.floor(row)), int(np.floor(column))
    bottom, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
    down, across = row - top, column - left
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[bottom, left] * (1 - across) + image[bottom, right] * across
    return upper * (1 - down) + lower * down


def cropped(image, box, height, width):
    """A crop by strictly aligned corners."""
    rows = np.linspace(box[0], box[2], height)
    columns = np.linspace(box[1], box[3], width)
    return np.stack([[[bilinear(plane, r, c) for c in columns] for r in rows] for plane in image])


def test_crops_of_numbered_images(compute):
    found = compute(
        lambda x, boxes: mb.crop_resize(
            x=x,
            boxes=boxes,
            box_indices=np.array([1, 0, 1], np.int32),
            target_height=4,
            target_width=5,
            sampling_mode="STRICT_ALIGN_CORNERS",
        ),
        {"x": IMAGES, "boxes": BOXES},
    )
    wanted = [cropped(IMAGES[image], box, 4, 5) for image, box in zip([1, 0, 1], BOXES, strict=True)]
    np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("of_every_image", [True, False])
def test_crops_of_older_programs(compute, of_every_image):
    numbered = BOXES if of_every_image else np.concatenate([[[1.0], [0.0], [1.0]], BOXES], axis=1).astype(np.float32)
    found = compute(
        lambda x, roi: mb.crop_resize(
            x=x, roi=roi, target_height=3, target_width=2, sampling_mode="STRICT_ALIGN_CORNERS"
        ),
        {"x": IMAGES, "roi": numbered.reshape(3, 1, -1, 1, 1)},
        target="iOS15",
    )
    images = [IMAGES] * 3 if of_every_image else [IMAGES[n : n + 1] for n in (1, 0, 1)]
    wanted = [[cropped(each, box, 3, 2) for each in some] for some, box in zip(images, BOXES, strict=True)]
    np.testing.assert_allclose(found, np.array(wanted), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST"])
def test_every_spelling_of_a_box_is_the_same_box(compute, mode):
    top, left, bottom, right = BOXES.T
    given = {
        "CORNERS_WIDTH_FIRST": [left, top, right, bottom],
        "CENTER_SIZE_HEIGHT_FIRST": [(top + bottom) / 2, (left + right) / 2, bottom - top, right - left],
        "CENTER_SIZE_WIDTH_FIRST": [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top],
    }[mode]

    def crops(boxes, mode):
        return compute(
            lambda x, boxes: mb.crop_resize(
                x=x, boxes=boxes, box_indices=np.zeros(3, np.int32), target_height=4, box_coordinate_mode=mode
            ),
            {"x": IMAGES, "boxes": boxes},
        )

    np.testing.assert_allclose(
        crops(np.stack(given, axis=1), mode), crops(BOXES, "CORNERS_HEIGHT_FIRST"), rtol=1e-5, atol=1e-6
    )


def test_normalized_and_scaled_boxes_are_in_pixels_at_last(compute):
    def crops(boxes, **options):
        return compute(
            lambda x, boxes: mb.crop_resize(
                x=x, boxes=boxes, box_indices=np.zeros(3, np.int32), target_height=2, target_width=2, **options
            ),
            {"x": IMAGES, "boxes": boxes.astype(np.float32)},
        )

    wanted = crops(BOXES)
    np.testing.assert_allclose(crops(BOXES * 4, spatial_scale=0.25), wanted, rtol=1e-5, atol=1e-6)
    fractions = BOXES / np.array([7, 9, 7, 9])
    np.testing.assert_allclose(crops(fractions, normalized_coordinates=True), wanted, rtol=1e-4, atol=1e-5)


def test_what_lies_outside_of_the_image_is_filled(compute):
    found = compute(
        lambda x, boxes: mb.crop_resize(
            x=x,
            boxes=boxes,
            box_indices=np.array([0], np.int32),
            target_height=3,
            target_width=1,
            sampling_mode="STRICT_ALIGN_CORNERS",
            pad_value=7.0,
        ),
        {"x": IMAGES, "boxes": np.array([[-4.0, 0.0, 4.0, 0.0]], np.float32)},
    )
    assert found[0, :, 0, 0].tolist() == [7.0] * 3
    np.testing.assert_allclose(found[0, :, 2, 0], IMAGES[0, :, 4, 0], rtol=1e-6)


CANDIDATES = np.array([[[5, 5, 4, 4], [5.5, 5, 4, 4], [20, 20, 4, 4], [5, 5.2, 4, 4], [40, 40, 2, 2]]], np.float32)
SCORES = np.array([[[0.9, 0.0], [0.8, 0.1], [0.7, 0.2], [0.1, 0.6], [0.05, 0.02]]], np.float32)


@pytest.mark.parametrize(("per_class", "kept"), [(False, [0, 2, 4]), (True, [0, 2, 3, 4])])
def test_boxes_that_overlap_a_better_one_fall(compute, per_class, kept):
    options = {"iou_threshold": np.float32(0.5), "max_boxes": 6, "per_class_suppression": per_class}
    boxes, scores, numbers = compute(
        lambda boxes, scores: mb.non_maximum_suppression(boxes=boxes, scores=scores, **options),
        {"boxes": CANDIDATES.transpose(0, 2, 1).copy(), "scores": SCORES.transpose(0, 2, 1).copy()},
    )
    padding = 6 - len(kept)
    assert numbers.tolist() == [kept + [-1] * padding]
    np.testing.assert_array_equal(boxes[0].T, np.concatenate([CANDIDATES[0][kept], np.zeros((padding, 4))]))
    np.testing.assert_array_equal(scores[0].T, np.concatenate([SCORES[0][kept], np.zeros((padding, 2))]))


def test_boxes_of_older_programs_have_a_least_score_and_are_counted(compute):
    options = {"iou_threshold": np.float32(0.5), "score_threshold": np.float32(0.3), "max_boxes": 2}
    boxes, scores, numbers, count = compute(
        lambda boxes, scores: mb.non_maximum_suppression(boxes=boxes, scores=scores, **options),
        {"boxes": CANDIDATES, "scores": SCORES},
        target="iOS15",
    )
    assert (numbers.tolist(), count.tolist()) == ([[0, 2]], [2])
    assert boxes.shape == (1, 2, 4)
    assert scores.shape == (1, 2, 2)


def test_a_convolution_of_quantized_weights_is_that_of_its_values(compute):
    weight = np.random.default_rng(1).integers(0, 256, (4, 3, 2, 2), dtype=np.uint8)
    scale, offset = np.linspace(0.1, 0.4, 4, dtype=np.float32), np.linspace(-1, 1, 4, dtype=np.float32)
    found = compute(
        lambda x: mb.conv_quantized(
            x=x, weight=weight, quantization_type="linear", quant_scale=scale, quant_bias=offset, strides=[2, 2]
        ),
        {"x": IMAGES},
        target="iOS15",
    )
    dense = torch.from_numpy(weight.astype(np.float32) * scale[:, None, None, None] + offset[:, None, None, None])
    wanted = torch.nn.functional.conv2d(torch.from_numpy(IMAGES), dense, stride=2)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


DRAWS = {
    "random_normal": (lambda shape: mb.random_normal(shape=shape, mean=3.0, stddev=2.0, seed=1), 3.0, 2.0),
    "random_uniform": (lambda shape: mb.random_uniform(shape=shape, low=-1.0, high=3.0), 1.0, 4 / 12**0.5),
    "random_bernoulli": (lambda shape: mb.random_bernoulli(shape=shape, prob=0.25), 0.25, 0.1875**0.5),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_random_numbers_have_their_distribution_and_can_be_drawn_again(compute, kind):
    draw, mean, deviation = DRAWS[kind]
    state = torch.random.get_rng_state()
    shape = np.array([100, 100], np.int32)
    first, again = (compute(lambda shape: draw(shape), {"shape": shape}) for _ in range(2))
    assert first.shape == (100, 100)
    assert np.array_equal(first, again)
    assert first.mean() == pytest.approx(mean, abs=0.1)
    assert first.std() == pytest.approx(deviation, abs=0.1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_two_operations_draw_numbers_of_their_own(compute):
    shape = np.array([50], np.int32)
    found = compute(
        lambda shape: (mb.random_normal(shape=shape, name="one"), mb.random_normal(shape=shape, name="two")),
        {"shape": shape},
    )
    assert not np.array_equal(*found)


def test_categories_are_drawn_by_their_probability(compute):
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]], np.float32))
    found = compute(lambda x: mb.random_categorical(x=x, size=4000), {"x": logits})
    shares = [[(row == category).mean() for category in range(3)] for row in found]
    np.testing.assert_allclose(shares, np.exp(logits), atol=0.03)
