"""Plots and tables of judged trackers."""

import csv
import io
import re
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from lightvit_bench.errors import BadDataError
from lightvit_bench.metrics import lasot
from lightvit_bench.tracking.judging.judge import judge_boxes
from lightvit_bench.tracking.judging.plots import (
    CURVES,
    best_first,
    plot_curves,
    plot_radar,
    table_csv,
    write_report,
)

NAMES = ("car-1", "car-2", "dog-1")


def tracker(name, noise, rule="toolkit", attributes=True):
    rng = np.random.default_rng(0)
    truth = {
        key: np.column_stack([rng.integers(50, 90, (40, 2)), rng.integers(20, 60, (40, 2))])
        for key in NAMES
    }
    results = {key: boxes + rng.normal(0, noise, boxes.shape) for key, boxes in truth.items()}
    return judge_boxes(
        results,
        {key: (boxes, np.zeros(40)) for key, boxes in truth.items()},
        attributes=dict.fromkeys(NAMES, np.arange(14) < 5) if attributes else None,
        rule=rule,
        tracker=name,
    )


@pytest.fixture(scope="module")
def three():
    return [tracker("middle", 6), tracker("_worst $a$ $b$", 15), tracker("best", 2)]


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


@pytest.mark.parametrize("kind", CURVES)
def test_the_best_comes_first_with_its_score(three, kind):
    score = {"success": "auc"}.get(kind, kind)
    texts = legend(plot_curves(three, kind))
    assert [text.split("  ")[1] for text in texts] == ["best", "middle", "_worst $a$ $b$"]
    assert texts[1].startswith(f"{getattr(three[0], score):.1f}")


def test_lines_are_the_curves(three):
    figure = plot_curves(three, "norm_precision")
    line = figure.axes[0].get_lines()[0]
    np.testing.assert_allclose(line.get_xdata(), lasot.NORM_THRESHOLDS)
    np.testing.assert_allclose(line.get_ydata(), 100 * three[2].curves.norm_precision)
    colours = [
        [x.get_color() for x in plot_curves(three, k).axes[0].get_lines()][:3] for k in CURVES
    ]
    assert colours[0] == colours[1] == colours[2] and len(set(colours[0])) == 3


def test_a_report_is_whole_and_the_same_twice(three, tmp_path):
    files = write_report(three, tmp_path / "one")
    write_report(three, tmp_path / "two")
    pictures = ["attributes", "norm_precision", "precision", "success"]
    expected = [f"{name}.{form}" for name in pictures for form in ("png", "svg")]
    expected += ["attributes.csv", "sequences.csv"]
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(expected)
    assert len(files) == len(expected)
    for name in pictures:
        assert cv2.imread(str(tmp_path / f"one/{name}.png")).std() > 10
        svg = (tmp_path / f"one/{name}.svg").read_text()
        assert svg == (tmp_path / f"two/{name}.svg").read_text()
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
        assert sum("middle" in text for text in texts) == 1
        assert sum("_worst $a$ $b$" in text for text in texts) == 1  # no formula
        assert any(three[0].protocol in text for text in texts)


def test_tables_hold_every_tracker(three):
    rows = list(csv.DictReader(io.StringIO(table_csv(three, "per_sequence", "sequence"))))
    assert len(rows) == 9 and {row["protocol"] for row in rows} == {three[0].protocol}
    assert float(rows[0]["auc"]) == pytest.approx(three[0].per_sequence["car-1"].auc, abs=1e-4)
    rows = list(csv.DictReader(io.StringIO(table_csv(three, "per_attribute", "attribute"))))
    assert [row["attribute"] for row in rows[:5]] == ["IV", "POC", "DEF", "MB", "CM"]
    assert rows[0]["sequences"] == "3"


def test_without_attributes_there_is_no_radar(tmp_path):
    plain = [tracker("plain", 4, attributes=False)]
    with pytest.raises(BadDataError, match="three attributes"):
        plot_radar(plain)
    write_report(plain, tmp_path)
    assert not list(tmp_path.glob("attributes*")) and (tmp_path / "success.svg").is_file()


def test_many_trackers_fit(tmp_path):
    many = [tracker(f"tracker {i}", 1 + i) for i in range(14)]
    assert len(legend(plot_curves(many, "success"))) == 14
    radar = plot_radar(many)
    assert len(legend(radar)) == 8 and "best 8 of 14" in radar.get_suptitle()


def test_what_cannot_be_compared_is_not_ranked(three):
    with pytest.raises(BadDataError, match="(?s)one protocol.*toolkit.*valid-frames"):
        best_first([three[0], tracker("other", 3, rule="valid-frames")])
    with pytest.raises(BadDataError, match="one name"):
        best_first([three[0], three[0]])


def test_pyplot_is_left_alone(three, tmp_path, monkeypatch):
    import matplotlib

    settings = dict(matplotlib.rcParams)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it fails
    write_report(three, tmp_path)
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("kind", CURVES)
def test_each_plot_ranks_by_its_own_score(three, kind):
    """Who overlaps best need not be nearest."""
    score = {"success": "auc"}.get(kind, kind)
    order = {"auc": "abc", "precision": "bca", "norm_precision": "cab"}
    some = [
        replace(three[0], tracker=name, **{key: 90.0 - by.index(name) for key, by in order.items()})
        for name in "cba"
    ]
    assert [text.split()[-1] for text in legend(plot_curves(some, kind))] == list(order[score])
    assert [one.tracker for one in best_first(some, score)] == list(order[score])
