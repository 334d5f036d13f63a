"""Proposals of regions to follow in photographs without boxes.

numpy and OpenCV only. Nothing is learned: what stands out from its surround is taken for a thing.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from lightvit_bench.tracking.synthetic.sources import Thing, rectangle, thing_of

_SMALL = 96  # longer side of the picture that regions are looked for in
_LEAST_SMALL = 8  # its shorter side: a region has 6 pixels and something around it


def propose(photo: np.ndarray, number: int, rng: np.random.Generator, most: int = 5) -> list[Thing]:
    """Regions that look like objects: what stands out from its surround in colour and structure.

    Random boxes are ranked by the contrast of a saliency map (spectral residual and distance from
    the photograph's mean colour) between box and surround; in the best, pixels whose colours are
    commoner inside than around form the outline, if they hang together. Otherwise the region is
    the box. A photograph 12 times as long as it is wide has no room for regions.
    """
    height, width = photo.shape[:2]
    share = _SMALL / max(height, width)
    if share * min(height, width) < _LEAST_SMALL:
        return []
    small = cv2.resize(
        photo, (round(width * share), round(height * share)), interpolation=cv2.INTER_AREA
    )
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    rows, columns = lab.shape[:2]
    total = cv2.integral(_saliency(lab))
    sides = min(rows, columns) * np.exp(rng.uniform(np.log(0.14), np.log(0.65), 80))
    aspect = np.exp(rng.normal(0, 0.3, 80))
    w = np.clip(sides * aspect, 6, columns - 2).astype(int)
    h = np.clip(sides / aspect, 6, rows - 2).astype(int)
    x = (rng.random(80) * (columns - w)).astype(int)
    y = (rng.random(80) * (rows - h)).astype(int)
    around = [np.maximum(x - w // 3, 0), np.maximum(y - h // 3, 0)]
    around += [np.minimum(x + w + w // 3, columns), np.minimum(y + h + h // 3, rows)]
    inside = _sums(total, x, y, x + w, y + h)
    ring = _sums(total, *around) - inside
    rest = (around[2] - around[0]) * (around[3] - around[1]) - w * h
    score = inside / (w * h) - ring / np.maximum(rest, 1)
    found, boxes = [], []
    for i in np.argsort(-score):
        if len(found) == most:
            break
        box = (x[i], y[i], w[i], h[i])
        if any(_overlap(box, other) > 0.35 for other in boxes):
            continue
        boxes.append(box)
        thing = _outline(lab, box, [int(side[i]) for side in around], photo.shape, number)
        if thing is None:
            thing = Thing(number, 0, 0, None, rectangle(np.array(box) / share), number)
        if thing.fit:
            found.append(thing)
    return found


def _saliency(lab: np.ndarray) -> np.ndarray:
    """(H, W) float32, mean 1: spectral residual of lightness plus distance from the mean colour."""
    light = lab[..., 0].astype(np.float32)
    spectrum = np.fft.fft2(cv2.resize(light, (64, 64)))
    logs = np.log(np.abs(spectrum) + 1e-6).astype(np.float32)
    residual = np.exp(logs - cv2.blur(logs, (3, 3)) + 1j * np.angle(spectrum))
    stands = cv2.GaussianBlur((np.abs(np.fft.ifft2(residual)) ** 2).astype(np.float32), (0, 0), 2)
    stands = cv2.resize(stands, lab.shape[1::-1])
    smooth = cv2.GaussianBlur(lab, (0, 0), 2).astype(np.float32)
    differs = np.linalg.norm(smooth - smooth.mean((0, 1)), axis=2)
    return stands / (stands.mean() + 1e-9) + differs / (differs.mean() + 1e-9)


def _sums(total: np.ndarray, x1, y1, x2, y2) -> np.ndarray:
    return total[y2, x2] - total[y1, x2] - total[y2, x1] + total[y1, x1]


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (x, y, w, h)."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def _outline(
    lab: np.ndarray, box: tuple, around: list[int], full: tuple, number: int
) -> Thing | None:
    """What in and about a box has the box's colours rather than its surround's, in one piece."""
    x, y, w, h = (int(v) for v in box)
    left, top, right, bottom = around
    bins = (lab >> np.array([4, 3, 3], np.uint8)).astype(np.int32)  # 16 x 32 x 32 colours
    codes = (bins[..., 0] << 10 | bins[..., 1] << 5 | bins[..., 2])[top:bottom, left:right]
    within = np.zeros(codes.shape, bool)
    within[y - top : y - top + h, x - left : x - left + w] = True
    ours = np.bincount(codes[within], minlength=1 << 14)
    theirs = np.bincount(codes[~within], minlength=1 << 14)
    likely = (ours / within.sum()) / (ours / within.sum() + theirs / max((~within).sum(), 1) + 1e-6)
    likely = cv2.GaussianBlur(likely[codes].astype(np.float32), (0, 0), 1.5)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((likely > 0.55).astype(np.uint8))
    if count < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    bx, by, bw, bh, area = stats[best]
    if not 0.3 < area / (bw * bh) < 0.95 or _overlap((bx + left, by + top, bw, bh), box) < 0.4:
        return None
    piece = np.zeros(lab.shape[:2], np.uint8)
    piece[top:bottom, left:right] = (labels == best) * np.uint8(255)
    piece = cv2.resize(piece, full[1::-1], interpolation=cv2.INTER_CUBIC)
    return thing_of(piece, number, number)
