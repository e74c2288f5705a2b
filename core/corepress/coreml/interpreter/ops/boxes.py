"""Boxes: crops of images, and the choice of boxes that do not overlap."""

import torch
from torch import Tensor

from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.ops.resize import between, places

_MISSING = -1


@computes("crop_resize")
def crop_resize(
    x: Tensor,
    roi: Tensor | None = None,
    boxes: Tensor | None = None,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """Crops (N, C, h, w) of boxes and images by number; with `roi`, as before iOS17, (N, B, C, h, w) of every image."""
    of_every_image = False
    if boxes is None:
        assert roi is not None
        boxes = roi.reshape(len(roi), -1)
        of_every_image = boxes.shape[1] == 4
        if not of_every_image:
            box_indices, boxes = boxes[:, 0], boxes[:, 1:]
    corners = _corners(boxes.to(torch.float32) * spatial_scale, box_coordinate_mode)
    if normalized_coordinates:
        corners = corners * (torch.tensor([x.shape[2], x.shape[3]] * 2) - 1)
    rows = _read_at(corners[:, 0], corners[:, 2], target_height, sampling_mode)
    columns = _read_at(corners[:, 1], corners[:, 3], target_width, sampling_mode)
    if of_every_image:
        return torch.stack([_sampled(x, row, column, pad_value) for row, column in zip(rows, columns, strict=True)])
    numbers = torch.arange(len(boxes)) if box_indices is None else box_indices.reshape(-1).to(torch.int64)
    crops = [
        _sampled(x[number : number + 1], row, column, pad_value)
        for number, row, column in zip(numbers.tolist(), rows, columns, strict=True)
    ]
    return torch.cat(crops) if roi is None else torch.stack(crops)


def _corners(boxes: Tensor, mode: str) -> Tensor:
    """Return boxes (N, 4) as top, left, bottom, right."""
    order = [0, 1, 2, 3] if mode.endswith("HEIGHT_FIRST") else [1, 0, 3, 2]
    boxes = boxes[:, order]
    if mode.startswith("CORNERS"):
        return boxes
    centres, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centres - half, centres + half], dim=1)


def _read_at(start: Tensor, end: Tensor, count: int, mode: str) -> Tensor:
    """Return the places (N, count) at which an axis is read for boxes from `start` to `end`."""
    lengths = (end - start + 1).to(torch.float64)
    inside = places(lengths[:, None], count, mode).clamp(min=0)
    return start[:, None] + torch.minimum(inside, (lengths - 1).clamp(min=0)[:, None])


def _sampled(images: Tensor, rows: Tensor, columns: Tensor, filling: float) -> Tensor:
    """Return images (B, C, H, W) between pixels, at rows and columns; `filling` is what lies outside."""
    height, width = images.shape[2:]
    values = between(between(images.to(torch.float32), 2, rows), 3, columns)
    outside = ((rows < 0) | (rows > height - 1))[:, None] | ((columns < 0) | (columns > width - 1))
    return values.masked_fill(outside, filling)


@computes("non_maximum_suppression")
def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_boxes: int,
    score_threshold: float | None = None,
    per_class_suppression: bool = False,
) -> tuple[Tensor, ...]:
    """Boxes by falling score, those that overlap a chosen one left out; padded with zeros, numbers with -1.

    Up to iOS16 there is a threshold of scores, boxes and classes come last, and the number of boxes is a fourth output.
    """
    old = score_threshold is not None
    if not old:
        boxes, scores = boxes.mT, scores.mT
    chosen = [
        _chosen(each, score, iou_threshold, max_boxes, score_threshold, per_class_suppression)
        for each, score in zip(boxes.to(torch.float32), scores.to(torch.float32), strict=True)
    ]
    numbers = torch.full((len(boxes), max_boxes), _MISSING, dtype=torch.int32)
    for row, found in zip(numbers, chosen, strict=True):
        row[: len(found)] = found
    kept_boxes, kept_scores = (_taken(values, numbers) for values in (boxes, scores))
    if not old:
        return kept_boxes.mT, kept_scores.mT, numbers
    return kept_boxes, kept_scores, numbers, torch.tensor([len(found) for found in chosen], dtype=torch.int32)


def _chosen(boxes: Tensor, scores: Tensor, most: float, count: int, least: float | None, per_class: bool) -> Tensor:
    """Return the numbers of the boxes (B, 4) of one image that are kept, by falling score."""
    best, classes = scores.max(dim=1)
    order = best.argsort(descending=True, stable=True)
    if least is not None:
        order = order[best[order] >= least]
    overlaps = _overlaps(boxes[order]) > most
    if per_class:
        overlaps &= classes[order][:, None] == classes[order]
    alive = torch.ones(len(order), dtype=torch.bool)
    kept: list[int] = []
    for position in range(len(order)):
        if len(kept) == count:
            break
        if alive[position]:
            kept.append(position)
            alive &= ~overlaps[position]
    return order[kept].to(torch.int32)


def _overlaps(boxes: Tensor) -> Tensor:
    """Return the intersection over union (B, B) of boxes given by centre and size."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    sides = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0)
    common, areas = sides.prod(-1), boxes[:, 2:].prod(-1)
    union = areas[:, None] + areas - common
    return torch.where(union > 0, common / union, 0.0)


def _taken(values: Tensor, numbers: Tensor) -> Tensor:
    """Return rows of values (n, B, k) by number, zeros where there is none."""
    rows = numbers.clamp(min=0).to(torch.int64)[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, rows).masked_fill((numbers < 0)[..., None], 0.0)
