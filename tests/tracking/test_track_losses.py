"""The losses against loops and formulas written down from the papers."""

import math

import numpy as np
import pytest
import torch

from lightvit_bench.tracking.heads import Maps
from lightvit_bench.tracking.training.losses import (
    corners,
    focal_loss,
    gaussian_radius,
    heat_map,
    overlap,
    tracking_losses,
)

GRID = (16, 16)


def literal_radius(width, height, least):
    """CornerNet's three roots, each over 2: the error that everybody took over."""
    roots = []
    for a, b, c in (
        (1, height + width, width * height * (1 - least) / (1 + least)),
        (4, 2 * (height + width), (1 - least) * width * height),
        (4 * least, -2 * least * (height + width), (least - 1) * width * height),
    ):
        roots.append((b + math.sqrt(b**2 - 4 * a * c)) / 2)
    return min(roots)


def literal_map(box, rows, columns):
    """CenterNet's drawing of one object, pixel by pixel."""
    heat = np.zeros((rows, columns))
    cx, cy, w, h = box
    x0, y0 = round(cx * columns), round(cy * rows)
    radius = int(max(0, literal_radius(w * columns, h * rows, 0.7)))
    sigma = (2 * radius + 1) / 6
    for y in range(y0 - radius, y0 + radius + 1):
        for x in range(x0 - radius, x0 + radius + 1):
            if 0 <= x < columns and 0 <= y < rows:
                value = math.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2))
                heat[y, x] = max(heat[y, x], value)
    return heat


BOXES = [
    (0.5, 0.5, 0.25, 0.25),
    (0.53125, 0.46875, 0.3, 0.1),  # 8.5 and 7.5 cells: halves, to the even one
    (0.0, 0.0, 0.4, 0.4),
    (0.999, 0.5, 0.5, 0.5),  # rounds to column 16, one beyond the last
    (1.05, 0.5, 0.9, 0.9),
    (-0.04, 0.3, 0.8, 0.7),
    (0.2, 0.9, 0.01, 0.01),
    (0.7, 0.6, 1.5, 1.2),
    (0.4, 0.3, 0.9, 0.05),
]


@pytest.mark.parametrize("box", BOXES)
def test_a_heat_map_is_drawn_literally(box):
    made = heat_map(torch.tensor([box]), torch.tensor([True]), GRID)
    assert made.shape == (1, 1, 16, 16)
    assert np.abs(made[0, 0].numpy() - literal_map(box, 16, 16)).max() < 1e-5


def test_random_heat_maps_in_a_batch():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(-0.1, 1.1, (64, 2)), rng.uniform(0.01, 1.2, (64, 2))], 1)
    boxes = boxes.astype(np.float32)
    made = heat_map(torch.from_numpy(boxes), torch.ones(64, dtype=torch.bool), (12, 20))
    for box, one in zip(boxes.tolist(), made[:, 0].numpy(), strict=True):
        assert np.abs(one - literal_map(box, 12, 20)).max() < 1e-5


def test_a_whole_region_has_one_peak_of_one():
    made = heat_map(torch.tensor(BOXES[:3]), torch.tensor([True, True, False]), GRID)
    assert made[0, 0, 8, 8] == 1 and (made[0] == 1).sum() == 1
    assert made[1, 0, 8, 8] == 1  # rows: 7.5 -> 8, columns: 8.5 -> 8
    assert not made[2].any()


def test_radii():
    for w, h in ((4, 4), (16, 2), (1, 1), (0.2, 0.2), (20, 30)):
        expected = int(max(0, literal_radius(w, h, 0.7)))
        assert gaussian_radius(torch.tensor(float(w)), torch.tensor(float(h))) == expected


def literal_focal(score, target):
    total, peaks = 0.0, 0
    for p, t in zip(score.flatten().tolist(), target.flatten().tolist(), strict=True):
        if t == 1:
            peaks += 1
            total -= math.log(p) * (1 - p) ** 2
        else:
            total -= math.log(1 - p) * p**2 * (1 - t) ** 4
    return total / max(peaks, 1)


def test_the_focal_loss_by_the_formula():
    torch.manual_seed(0)
    score = torch.rand(3, 1, 16, 16).clamp(1e-4, 1 - 1e-4)
    target = heat_map(torch.tensor(BOXES[:3]), torch.tensor([True, True, False]), GRID)
    assert focal_loss(score, target).item() == pytest.approx(literal_focal(score, target), rel=1e-4)
    none = torch.zeros_like(target)
    assert focal_loss(score, none).item() == pytest.approx(literal_focal(score, none), rel=1e-4)


def test_a_peak_on_a_token_that_was_removed_is_finite():
    """The head for each token gives a removed one the score 0."""
    score = torch.tensor([[[[0.0, 0.5, 0.2]]]], requires_grad=True)
    for target in ([1.0, 0.2, 0.0], [0.2, 1.0, 0.0]):
        score.grad = None
        loss = focal_loss(score, torch.tensor([[[target]]]))
        loss.backward()
        assert loss.isfinite() and score.grad.isfinite().all()
        assert score.grad[0, 0, 0, 0] == 0 and score.grad[0, 0, 0, 1] != 0


def literal_overlap(a, b):
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    union = sum(areas) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union, shared / union - (hull - union) / hull


def test_overlaps_against_loops():
    rng = np.random.default_rng(0)
    lows, sizes = rng.uniform(0, 1, (2, 200, 2)), rng.uniform(0.01, 0.6, (2, 200, 2))
    first, second = (
        np.concatenate([low, low + size], 1) for low, size in zip(lows, sizes, strict=True)
    )
    iou, giou = overlap(torch.from_numpy(first), torch.from_numpy(second))
    for i in range(200):
        expected = literal_overlap(first[i], second[i])
        assert (iou[i].item(), giou[i].item()) == pytest.approx(expected, abs=1e-9)
    assert (iou == 0).any() and (iou > 0.2).any()
    same, generalised = overlap(torch.from_numpy(first), torch.from_numpy(first))
    assert torch.allclose(same, torch.ones(200).double())
    assert torch.allclose(generalised, torch.ones(200).double())


def random_maps(batch=3):
    torch.manual_seed(0)
    score = torch.rand(batch, 1, *GRID).clamp(0.01, 0.9)
    made = Maps(score, torch.rand(batch, 2, *GRID).clamp(0.1, 0.5), torch.rand(batch, 2, *GRID))
    for one in made:
        one.requires_grad_()
    return made


def literal_losses(maps, boxes, present, cells):
    giou, l1, iou, count = 0.0, 0.0, 0.0, max(1, sum(present))
    for b, cell in enumerate(cells):
        if not present[b]:
            continue
        row, column = divmod(cell, GRID[1])
        x = (column + maps.offset[b, 0, row, column].item()) / GRID[1]
        y = (row + maps.offset[b, 1, row, column].item()) / GRID[0]
        w, h = maps.size[b, :, row, column].tolist()
        predicted = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        cx, cy, w, h = boxes[b]
        truth = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
        truth = [min(max(value, 0), 1) for value in truth]
        one, generalised = literal_overlap(predicted, truth)
        giou += (1 - generalised) / count
        iou += one / count
        l1 += sum(abs(p - t) for p, t in zip(predicted, truth, strict=True)) / 4 / count
    return {"loss_giou": 2 * giou, "loss_l1": 5 * l1, "iou": iou}


@pytest.mark.parametrize("present", [[True, True, True], [True, False, True], [False] * 3])
@pytest.mark.parametrize("box_of", ["prediction", "truth"])
def test_the_losses_of_a_batch(present, box_of):
    maps = random_maps()
    boxes = [(0.5, 0.52, 0.3, 0.2), (0.1, 0.9, 0.4, 0.4), (0.8, 0.33, 0.6, 0.1)]
    made = tracking_losses(maps, torch.tensor(boxes), torch.tensor(present), box_of=box_of)
    if box_of == "prediction":
        cells = maps.score.flatten(1).argmax(dim=1).tolist()
    else:
        cells = [min(round(cy * 16), 15) * 16 + min(round(cx * 16), 15) for cx, cy, _, _ in boxes]
    expected = literal_losses(maps, boxes, present, cells)
    for name, value in expected.items():
        assert made[name].item() == pytest.approx(value, abs=1e-5), name
    target = heat_map(torch.tensor(boxes), torch.tensor(present), GRID)
    focal = literal_focal(maps.score, target)
    assert made["loss_focal"].item() == pytest.approx(focal, rel=1e-4)
    assert not made["iou"].requires_grad

    (made["loss_giou"] + made["loss_l1"]).backward()
    assert maps.score.grad is None  # which cell is taken is no matter of gradients
    for b, cell in enumerate(cells):
        size, offset = (
            one.grad[b].abs().sum(0).flatten().nonzero().flatten().tolist()
            for one in (maps.size, maps.offset)
        )
        assert size == ([cell] if present[b] else [])
        assert offset in ([], size)  # a box that contains the truth may move at no cost


def test_absent_targets_are_taught_an_empty_map():
    maps = random_maps(1)
    made = tracking_losses(maps, torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([False]))
    made["loss_focal"].backward()
    assert made["loss_focal"] > 0 and (maps.score.grad > 0).all()  # each score shall fall
    assert made["loss_giou"] == 0 and made["loss_l1"] == 0 and made["iou"] == 0


def test_a_perfect_answer_costs_next_to_nothing():
    box = torch.tensor([[0.5 + 0.25 / 16, 0.5 - 0.25 / 16, 0.3, 0.2]])
    score = heat_map(box, torch.tensor([True]), GRID)
    score = torch.where(score == 1, 1 - 1e-4, torch.full_like(score, 1e-4))
    size = torch.zeros(1, 2, *GRID)
    offset = torch.zeros(1, 2, *GRID)
    size[0, :, 8, 8] = box[0, 2:]
    offset[0, :, 8, 8] = torch.tensor([0.25, -0.25])
    made = tracking_losses(Maps(score, size, offset), box, torch.tensor([True]))
    assert made["iou"] == pytest.approx(1, abs=1e-4)
    assert sum(value.item() for name, value in made.items() if name != "iou") < 1e-3


def test_corners():
    made = corners(torch.tensor([0.5, 0.4, 0.2, 0.6]))
    assert made.tolist() == pytest.approx([0.4, 0.1, 0.6, 0.7])
