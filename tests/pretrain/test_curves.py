"""Logs of runs, in one piece or several, as curves."""

import json

import cv2
import pytest

from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.pretrain.curves import plot_losses, read_scalars


def log(work_dir, part, iterations, loss, rest=""):
    file = work_dir / part / "vis_data/scalars.json"
    file.parent.mkdir(parents=True)
    lines = [
        json.dumps(dict(epoch=i / 10, iteration=i, loss_pixels=loss, loss=loss)) for i in iterations
    ]
    file.write_text("\n".join(lines) + "\n" + rest)


def test_a_resumed_run_is_one_curve(tmp_path):
    """The part that was resumed from an earlier checkpoint counts, not what it replaced."""
    log(tmp_path, "20260101_000000", (10, 20, 30), 1.0, rest='{"epoch": 4, "itera')  # killed
    log(tmp_path, "20260102_000000", (20, 40), 0.5)
    records = read_scalars(tmp_path)
    assert [(r["iteration"], r["loss"]) for r in records] == [(10, 1.0), (20, 0.5), (40, 0.5)]


def test_no_log_and_damaged_logs_are_told(tmp_path):
    with pytest.raises(MissingDataError, match="no log"):
        read_scalars(tmp_path)
    log(tmp_path, "a", (10,), 1.0, rest='{"loss": 3}\n' + "{}\n")
    with pytest.raises(BadDataError, match="line 2"):
        read_scalars(tmp_path)


def test_each_loss_has_its_panel(tmp_path):
    one = [dict(epoch=e, loss_pixels=1 / (1 + e)) for e in range(5)]
    both = [dict(record, loss_attention=0.5) for record in one]
    plot_losses({"MAE": one}, tmp_path / "one.png")
    plot_losses({"MAE": one, "D-MAE": both}, tmp_path / "two.png")
    narrow, wide = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("one", "two"))
    assert wide.shape[1] > 1.8 * narrow.shape[1]
    assert narrow.std() > 10  # something is drawn
