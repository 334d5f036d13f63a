"""mmsegmentation's mIoU with its figures unrounded, for run records."""

from __future__ import annotations

import numpy as np
from mmengine.registry import METRICS
from mmseg.evaluation.metrics import IoUMetric

from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics.segmentation import SegScores, scores_of_counts


@METRICS.register_module()
class ExactIoU(IoUMetric):
    """`IoUMetric`, which keeps what it rounds to two decimals.

    It returns and logs the same. mmsegmentation adds pixels up in float32; here the counts of each
    image, which are exact up to 2^24 pixels, are added as integers.

    Attributes:
        exact: scores of the last evaluation; of a distributed run on the first process.
        evaluated: over how many images.
    """

    exact: SegScores | None = None
    evaluated: int = 0

    def compute_metrics(self, results: list) -> dict[str, float]:
        """As `IoUMetric`, from (intersection, union, prediction, truth) counts of each image."""
        if results:
            right, _, predicted, true = (
                sum(np.asarray(counts, np.float64).astype(np.int64) for counts in part)
                for part in zip(*results, strict=True)
            )
            if not true.any():
                raise BadDataError("the truth of all images is ignored: there is nothing to score.")
            self.exact, self.evaluated = scores_of_counts(right, true, predicted), len(results)
        return super().compute_metrics(results)
