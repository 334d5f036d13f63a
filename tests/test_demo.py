"""The demo end to end, with the encoder for tests."""

import cv2
import pytest

from lightvit_bench.segmentation.demo import baseline, run_demo


@pytest.mark.slow
def test_demo_leaves_a_score_a_baseline_and_pictures(tiny_config, tmp_path, capsys):
    data = tmp_path / "data"
    metrics = run_demo(tmp_path / "out", data, str(tiny_config))
    printed = capsys.readouterr().out
    assert f"{metrics['mIoU']:.1f}" in printed and f"{baseline(data).miou:.1f}" in printed
    assert str(tmp_path / "out/demo.png") in printed
    assert len(list((tmp_path / "out/overlays").glob("*.png"))) == 30
    assert cv2.imread(str(tmp_path / "out/demo.png")).shape[1] > 2 * 3 * 160


def test_baseline_is_what_the_commonest_class_scores(demo_root):
    """Of the generated data the photograph is commonest: its share is the accuracy."""
    total = right = 0
    for path in (demo_root / "annotations/validation").iterdir():
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        right += int((mask == 1).sum())
        total += mask.size
    assert baseline(demo_root).aacc == pytest.approx(100 * right / total)
