"""The losses of OSTrack: focal on the score map, GIoU and L1 on the box of one cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightvit_bench.tracking.heads import Maps, boxes_at

MIN_OVERLAP = 0.7  # a box moved by the radius still overlaps so much (CornerNet's rule)
WEIGHTS = dict(focal=1.0, giou=2.0, l1=5.0)


def peak_cells(boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    """The cell nearest to each box's centre (B, 2): column, row; it may lie just outside the grid.

    `boxes` (B, 4): centre x, centre y, width, height as fractions of the region. Rounded, so the
    offset to learn lies between -0.5 and 0.5.
    """
    return (boxes[:, :2] * boxes.new_tensor([grid[1], grid[0]])).round().long()


def gaussian_radius(width: Tensor, height: Tensor, overlap: float = MIN_OVERLAP) -> Tensor:
    """Whole cells by which a box of `width` x `height` cells may move and still overlap so much.

    The three cases of CornerNet, each divided by 2 whatever its leading coefficient: an error of
    the original that all who took it over have, the authors included, and that models rely on.
    """
    total, area = width + height, width * height
    both = (total + (total**2 - 4 * area * (1 - overlap) / (1 + overlap)).sqrt()) / 2
    inner = (2 * total + (4 * total**2 - 16 * (1 - overlap) * area).sqrt()) / 2
    b = -2 * overlap * total
    outer = (b + (b**2 + 16 * overlap * (1 - overlap) * area).sqrt()) / 2
    return torch.minimum(both, torch.minimum(inner, outer)).clamp(min=0).floor()


def heat_map(boxes: Tensor, present: Tensor, grid: tuple[int, int]) -> Tensor:
    """Target of the score map (B, 1, h, w): a Gaussian that is 1 at the peak cell, cut at a radius.

    `boxes` as in `peak_cells`; rows of `present` (B,) bool that are False get an empty map.
    """
    cells = peak_cells(boxes, grid)
    radius = gaussian_radius(boxes[:, 2] * grid[1], boxes[:, 3] * grid[0])[:, None]
    sigma = (2 * radius + 1) / 6
    columns = torch.arange(grid[1], device=boxes.device) - cells[:, :1]  # (B, w)
    rows = torch.arange(grid[0], device=boxes.device) - cells[:, 1:]  # (B, h)
    across = torch.exp(-(columns**2) / (2 * sigma**2)) * (columns.abs() <= radius)
    down = torch.exp(-(rows**2) / (2 * sigma**2)) * (rows.abs() <= radius)
    heat = down[:, :, None] * across[:, None, :]
    heat = torch.where(heat < torch.finfo(heat.dtype).eps, 0.0, heat)
    return (heat * present[:, None, None])[:, None]


def focal_loss(score: Tensor, target: Tensor, alpha: float = 2.0, beta: float = 4.0) -> Tensor:
    """CenterNet's focal loss of a probability map, divided by the number of peaks (1 at least)."""
    score = score.clamp(min=1e-12)  # a token removed scores 0, and the peak may be there
    peak = target.eq(1)
    hit = torch.log(score) * (1 - score) ** alpha
    miss = torch.log(1 - score) * score**alpha * (1 - target) ** beta
    return -torch.where(peak, hit, miss).sum() / peak.sum().clamp(min=1)


def corners(boxes: Tensor) -> Tensor:
    """Centre x, centre y, width, height -> x1, y1, x2, y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of boxes (B, 4) given by their corners."""

    def area(box: Tensor) -> Tensor:
        return (box[:, 2] - box[:, 0]).clamp(min=0) * (box[:, 3] - box[:, 1]).clamp(min=0)

    low = torch.maximum(first[:, :2], second[:, :2])
    high = torch.minimum(first[:, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    union = area(first) + area(second) - shared
    iou = shared / union.clamp(min=1e-9)
    low = torch.minimum(first[:, :2], second[:, :2])
    high = torch.maximum(first[:, 2:], second[:, 2:])
    hull = (high - low).clamp(min=0).prod(dim=1)
    return iou, iou - (hull - union) / hull.clamp(min=1e-9)


def tracking_losses(
    maps: Maps, boxes: Tensor, present: Tensor, *, box_of: str = "prediction"
) -> dict[str, Tensor]:
    """The three losses, weighted 1, 2 and 5, and the IoU of the boxes predicted.

    Args:
        boxes: (B, 4) truth: centre x, centre y, width, height as fractions of the region.
        present: (B,) bool; where False the region does not show the target, its score map shall be
            empty, and no box counts.
        box_of: the cell whose box is judged: "prediction", the one of the highest score, as the
            authors have it; or "truth", the cell nearest to the true centre.

    Returns:
        loss_focal, loss_giou, loss_l1, and `iou`, without gradient: the mean over what is present.
    """
    grid = tuple(maps.score.shape[-2:])
    boxes = boxes.float()
    target = heat_map(boxes, present, grid)
    if box_of == "truth":
        column, row = peak_cells(boxes, grid).unbind(1)
        cells = row.clamp(0, grid[0] - 1) * grid[1] + column.clamp(0, grid[1] - 1)
    else:
        cells = maps.score.flatten(1).argmax(dim=1)
    predicted = corners(boxes_at(maps, cells))
    truth = corners(boxes).clamp(0, 1)
    weight = present.float() / present.sum().clamp(min=1)
    iou, giou = overlap(predicted, truth)
    l1 = F.l1_loss(predicted, truth, reduction="none").mean(dim=1)
    return {
        "loss_focal": WEIGHTS["focal"] * focal_loss(maps.score, target),
        "loss_giou": WEIGHTS["giou"] * ((1 - giou) * weight).sum(),
        "loss_l1": WEIGHTS["l1"] * (l1 * weight).sum(),
        "iou": (iou * weight).sum().detach(),
    }
