"""Scores of semantic segmentation: mIoU, mAcc, aAcc from one confusion matrix, in numpy alone.

The conventions are those of mmsegmentation's `IoUMetric`, so that numbers can be compared:

- pixels are counted over the whole set first, and ratios are taken once (no mean over images);
- pixels whose truth is `ignore_index` count nowhere, whatever was predicted there;
- a class that is neither in the truth nor predicted has no IoU (NaN) and is left out of mIoU; one
  that is predicted and not in the truth has IoU 0, and drags mIoU down;
- a class that is not in the truth has no accuracy (NaN) and is left out of mAcc.

One difference: counts here are exact integers, where mmsegmentation adds them up in float32. Beyond
2^24 pixels a class its sums lose a few pixels, which stays far below the two decimals it prints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class SegScores:
    """Scores in percent (0 to 100), as mmsegmentation prints them.

    `iou` and `acc` are per class, float64 of shape (C,), NaN where a class has no score.
    """

    miou: float
    macc: float
    aacc: float
    iou: np.ndarray
    acc: np.ndarray


def confusion(
    pred: np.ndarray, truth: np.ndarray, num_classes: int, ignore_index: int = 255
) -> np.ndarray:
    """Count pixels by true class (rows) and predicted class (columns): int64 of shape (C, C).

    `pred` and `truth` are integer arrays of one shape, usually (H, W). Matrices of several images
    add up. Raises ValueError when shapes differ, for non-integers, and for ids outside 0..C-1
    (mmseg's metric drops such pixels from some of its sums and not from others).
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; there has to be at least one class")
    if pred.shape != truth.shape:
        raise ValueError(f"prediction and truth differ in shape: {pred.shape} and {truth.shape}")
    for name, ids in (("prediction", pred), ("truth", truth)):
        if not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(f"the {name} holds {ids.dtype}; class ids are integers")

    counted = truth != ignore_index
    pred, truth = pred[counted].astype(np.int64), truth[counted].astype(np.int64)
    for name, ids in (("prediction", pred), ("truth", truth)):
        outside = ids[(ids < 0) | (ids >= num_classes)]
        if outside.size:
            raise ValueError(
                f"the {name} holds ids outside 0..{num_classes - 1}: "
                f"{np.unique(outside)[:10].tolist()} ({outside.size} pixels)"
            )
    cells = np.bincount(truth * num_classes + pred, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def scores(confusion: np.ndarray) -> SegScores:
    """The scores of a (C, C) confusion matrix, rows = truth.

    Raises ValueError when it is not square, holds negative or fractional counts, or no pixel.
    """
    matrix = np.asarray(confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"a confusion matrix has shape (C, C), this one {matrix.shape}")
    if not np.issubdtype(matrix.dtype, np.integer) or matrix.min() < 0:
        raise ValueError("a confusion matrix holds counts: integers from 0 up")
    if not matrix.any():
        raise ValueError("the confusion matrix counts no pixel: every one was ignored")

    return scores_of_counts(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def scores_of_counts(right: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> SegScores:
    """The scores of pixel counts per class, integers of shape (C,) each, void in none of them.

    `right`: of that class in truth and prediction; `true`: in the truth; `predicted`.
    """
    iou = _percent(right, true + predicted - right)
    acc = _percent(right, true)
    return SegScores(
        miou=float(np.nanmean(iou)),
        macc=float(np.nanmean(acc)),
        aacc=float(100.0 * right.sum() / true.sum()),
        iou=iou,
        acc=acc,
    )


def commonest_class_scores(train_pixels: np.ndarray, test_pixels: np.ndarray) -> SegScores:
    """What always predicting the commonest training class scores on the test masks.

    Both are pixel counts per class, shape (C,), without void. The class is chosen on the training
    masks (the lowest id of equals), never on the test masks. Every method has to beat this score.
    Raises ValueError when the shapes are not (C,) and equal, or either set has no pixel.
    """
    train, test = np.asarray(train_pixels), np.asarray(test_pixels)
    if train.ndim != 1 or train.shape != test.shape or not train.size:
        raise ValueError(
            "pixel counts are one number a class, as many for training as for test: "
            f"got shapes {train.shape} and {test.shape}"
        )
    for name, counts in (("training", train), ("test", test)):
        if not np.issubdtype(counts.dtype, np.integer) or counts.min() < 0:
            raise ValueError(f"the {name} pixel counts are not integers from 0 up")
        if not counts.any():
            raise ValueError(f"the {name} masks hold no pixel of any class")
    matrix = np.zeros((train.size, train.size), dtype=np.int64)
    matrix[:, int(train.argmax())] = test
    return scores(matrix)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    share = np.full(part.shape, np.nan)
    np.divide(100.0 * part, whole, out=share, where=whole > 0)
    return share
