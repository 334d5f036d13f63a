"""Comparing two results: what may be compared, and what a difference is worth."""

import os
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lightvit_bench.bench.record import RunRecord, write_record
from lightvit_bench.errors import BadDataError, ConfigError, MissingDataError
from lightvit_bench.leaderboard.compare import (
    EXCEEDS,
    UNKNOWN,
    WITHIN,
    compare,
    compare_lines,
    compare_rows,
    lines_of,
    welch_interval,
)
from lightvit_bench.leaderboard.measured import rows_of
from lightvit_bench.leaderboard.rows import Row, Score

SEGMENTATION = dict(task="segmentation", dataset="CamVid", split="test", protocol="p@single-scale")


def row(model="a", origin="measured", scores=None, **others):
    fields = {**SEGMENTATION, "scores": scores or {"miou": Score(30.0, 0.5, 3)}, **others}
    return Row(key=fields.pop("key", f"{origin}/{model}"), origin=origin, model=model, **fields)


def scored(model, mean, std=None, runs=1, **others):
    return row(model, scores={"miou": Score(mean, std, runs)}, **others)


def of_values(model, values, **others):
    return scored(model, statistics.fmean(values), statistics.stdev(values), len(values), **others)


def only(comparison):
    """The one difference of the one pair."""
    (pair,) = comparison.pairs
    (found,) = pair.differences
    return found


def record(model, score, seed=0, **changes):
    fields = dict(
        **SEGMENTATION,
        model=model,
        values={"miou": score},
        origin="measured",
        date=f"2026-11-22T10:00:{seed:02}Z",
        expected=4,
        evaluated=4,
        seed=seed,
        command="tools/test.py",
        run=os.urandom(16).hex(),
    )
    return RunRecord(**{**fields, **changes})


# ----------------------------------------------------------------------------------- the statistics


@pytest.mark.parametrize("sizes", [(3, 3), (2, 5), (8, 3)])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_interval_is_scipys(sizes, scale):
    rng = np.random.default_rng(sum(sizes))
    a, b = (scale * rng.normal(i, 1 + i, size) for i, size in enumerate(sizes))
    exact = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    sides = [Score(statistics.fmean(x), statistics.stdev(x), len(x)) for x in (a, b)]
    assert welch_interval(*sides) == pytest.approx((exact.low, exact.high), rel=1e-9)


def test_a_difference_that_exceeds_the_spread_and_one_that_does_not():
    a, near, far = [30.1, 30.5, 29.8], [30.6, 30.2, 31.1], [33.0, 33.4, 32.7]
    within = only(compare_rows([of_values("a", a)], [of_values("b", near)]))
    assert within.verdict == WITHIN and within.interval[0] < 0 < within.interval[1]
    beyond = only(compare_rows([of_values("a", a)], [of_values("b", far)]))
    assert beyond.verdict == EXCEEDS and beyond.interval[1] < 0
    assert beyond.value == pytest.approx(-2.9, abs=0.01) and beyond.better == "B"
    for values, verdict in ((near, WITHIN), (far, EXCEEDS)):
        p = stats.ttest_ind(a, values, equal_var=False).pvalue
        assert (p < 0.05) == (verdict == EXCEEDS)


def test_less_is_better_of_times():
    common = dict(task="backbone-speed", dataset="noise", split="", place="a machine")
    a, b = (
        row(model, scores={"model_ms": Score(ms, 0.1, 5)}, **common)
        for model, ms in (("a", 10.0), ("b", 20.0))
    )
    found = only(compare_rows([a], [b]))
    assert (found.value, found.better, found.verdict) == (-10.0, "A", EXCEEDS)
    assert "A better, exceeds the spread" in "\n".join(lines_of(compare_rows([a], [b])))


def test_a_latency_and_a_rate_agree_on_who_is_better(tmp_path):
    """Of three rounds each: fewer milliseconds are better, more frames a second as well."""
    for model, base in (("slow", 20.0), ("fast", 10.0)):
        for round_ in range(3):
            ms = base + round_ / 10
            values = {"model_ms": ms, "times_as_fast_as_mmseg": 30 / ms}
            common = dict(task="backbone-speed", dataset=None, split=None, checkpoint=None)
            one = record(model, 0.0, round_, values=values, protocol="inference@64px", **common)
            write_record(one, tmp_path / model)
    (pair,) = compare(tmp_path / "slow", tmp_path / "fast").pairs
    assert [one.metric.higher for one in pair.differences] == [False, True]
    assert [(one.better, one.verdict) for one in pair.differences] == [("B", EXCEEDS)] * 2
    time, ratio = pair.differences
    assert time.value == pytest.approx(10) and time.interval[0] > 0 > ratio.interval[1]
    text = "\n".join(lines_of(compare(tmp_path / "fast", tmp_path / "slow")))
    assert text.count("A better, exceeds the spread") == 2 and "B better" not in text


def test_one_run_tells_nothing_however_far_it_is():
    found = only(compare_rows([scored("a", 90.0)], [scored("b", 30.0)]))
    assert found.verdict == f"{UNKNOWN} (one run)" and not found.told and not found.interval
    found = only(compare_rows([scored("a", 31.0)], [scored("b", 30.0, 0.5, 3)]))
    assert found.verdict == f"{UNKNOWN} (one run)"
    assert found.told == "the difference is 2.0 standard deviations of B's runs"
    found = only(compare_rows([scored("a", 31.0, 0.5, 3)], [scored("b", 30.0, 0.5, 1)]))
    assert found.verdict == f"{UNKNOWN} (one run)", "a deviation of nobody knows how many runs"


def test_a_published_figure_without_spread_is_shown_beside_and_not_ranked():
    theirs = scored("b", 42.8, origin="published", source="a paper, table 1", remarks=("labels",))
    comparison = compare_rows([scored("a", 39.0, 0.4, 3)], [theirs])
    assert only(comparison).verdict == f"{UNKNOWN} (published without the spread of its runs)"
    text = "\n".join(lines_of(comparison))
    for needle in ("not ranked: origins differ", "a paper, table 1", "labels", "9.5 standard"):
        assert needle in text
    assert "better" not in text and "+-0.3" not in text
    assert "39.00 +- 0.40 (3)  42.80  -3.80" in text, "nobody says of how many runs"
    assert not comparison.pairs[0].ranked


def test_the_noise_on_imagenet_is_told():
    a, b = (
        row(m, "published", {"top1": Score(x)}, task="classification", dataset="ImageNet-1K",
            source="paper")
        for m, x in (("a", 78.0), ("b", 78.1))
    )  # fmt: skip
    assert "+-0.3" in "\n".join(lines_of(compare_rows([a], [b])))


def test_an_incomplete_run_is_not_judged():
    part = scored("b", 60.0, 0.1, 3, expected=233, evaluated=230)
    comparison = compare_rows([scored("a", 30.0, 0.1, 3)], [part])
    assert only(comparison).verdict == f"{UNKNOWN} (incomplete run)"
    assert "incomplete: 230 of 233 evaluated" in "\n".join(lines_of(comparison))


def test_runs_that_do_not_differ_tell_nothing():
    same = f"{UNKNOWN} (no spread between the runs)"
    found = only(compare_rows([scored("a", 30.0, 0.0, 3)], [scored("b", 31.0, 0.0, 3)]))
    assert (found.verdict, found.interval, found.told) == (same, None, "")
    for a, b in (((0.0, 3), (0.5, 3)), ((0.5, 3), (0.0, 3))):
        found = only(compare_rows([scored("a", 30.0, *a)], [scored("b", 31.0, *b)]))
        assert (found.verdict, found.interval) == (same, None)
        assert "2.0 standard deviations" in found.told
    assert (
        only(compare_rows([scored("a", 30.0, 0.0, 3)], [scored("b", 30.0, 0.0, 2)])).better is None
    )
    text = "\n".join(lines_of(compare_rows([scored("a", 30.0, 0.0, 3)], [scored("b", 31.0)])))
    assert "better" not in text and text.endswith(same)


def test_the_same_weights_tested_again_are_no_further_run(tmp_path):
    for model, base in (("a", 30.0), ("b", 35.0)):
        for seed in range(3):
            one = record(model, base + seed / 1e6, seed, checkpoint_sha256=64 * model)
            write_record(one, tmp_path / model)
    found = only(compare(tmp_path / "a", tmp_path / "b"))
    assert found.verdict.startswith(UNKNOWN) and found.interval is None


# ----------------------------------------------------------------------------- what may be compared


@pytest.mark.parametrize(
    "field, value, word",
    [
        ("protocol", "p@multi-scale-flip", "protocol"),
        ("split", "val", "split"),
        ("dataset", "ADE20K", "data set"),
        ("place", "another machine", "machine"),
        ("task", "tracking", "task"),
    ],
)
def test_rows_of_different_boards_are_not_compared(field, value, word):
    near, far = {field: value}, {"split": "x", "protocol": "y", "place": "z", field: value}
    with pytest.raises(ConfigError, match=f"another {word}\\.") as caught:
        compare_rows([row("a")], [row("c", **far), row("b", **near)])
    assert value in str(caught.value) and "measured/b" in str(caught.value), "the nearest is named"


def test_shared_boards_are_compared_and_others_named():
    ours = [scored("a", 30.0), scored("a", 40.0, dataset="ADE20K", key="measured/a-ade")]
    theirs = [scored("b", 31.0), scored("b", 41.0, dataset="Cityscapes", key="measured/b-city")]
    comparison = compare_rows(ours, theirs)
    assert only(comparison).value == -1.0
    text = "\n".join(lines_of(comparison))
    assert "only in A: a (measured/a-ade)" in text and "only in B: b (measured/b-city)" in text


def test_several_rows_of_a_board_are_matched_by_how_they_ran():
    def side(name, *times):
        return [
            row(
                "tracker",
                scores={"track_ms": Score(ms, 0.1, 3)},
                task="tracking-latency",
                place="m",
                environment={"runtime": runtime},
                key=f"{name}/{runtime}",
            )
            for runtime, ms in times
        ]

    a = side("a", ("eager", 30.0), ("onnx", 10.0), ("torch", 25.0))
    comparison = compare_rows(a, side("b", ("onnx", 9.0), ("eager", 31.0)))
    found = {(p.a.key, p.b.key): p.differences[0].value for p in comparison.pairs}
    assert found == {("a/eager", "b/eager"): -1.0, ("a/onnx", "b/onnx"): 1.0}
    assert [one.key for one in comparison.only_a] == ["a/torch"]
    with pytest.raises(ConfigError, match="which one is meant"):
        compare_rows(a, [*side("b", ("onnx", 9.0)), *side("c", ("onnx", 8.0))])
    with pytest.raises(ConfigError, match="none is run as"):
        compare_rows(a, side("b", ("openvino", 9.0)))


def test_a_row_is_not_compared_with_itself():
    one = row("a", records=("x.json",))
    with pytest.raises(BadDataError, match="the same runs"):
        compare_rows([one], [replace(one, key="b")])


def test_both_sides_have_a_run(tmp_path):
    original = record("a", 30.0)
    file = write_record(original, tmp_path / "original")
    forged = write_record(replace(original, values={"miou": 39.0}), tmp_path / "forged")
    for a, b in ((file, forged), (file.parent, forged), (forged.parent, file.parent), (file, file)):
        with pytest.raises(BadDataError, match="both sides have records of one run") as caught:
            compare(a, b)
        for needle in (original.run, str(a), str(b), "do:"):
            assert needle in str(caught.value)


def test_two_records_of_one_run_in_two_cells_are_refused(tmp_path):
    one, other = record("a", 30.0, 0), record("a", 31.0, 1)
    for seed, found in enumerate((one, replace(other, run=one.run))):
        write_record(found, tmp_path / f"a/seed-{seed}/records")
    with pytest.raises(BadDataError, match="two records are of one run"):
        compare(tmp_path / "a", write_record(record("b", 1.0), tmp_path))


def test_runs_that_do_not_count_are_told():
    a, b = scored("a", 30.0, left_out=1), scored("b", 31.0, left_out=2)
    lines = lines_of(compare_rows([a], [b]))
    assert lines[2] == "     1 incomplete run not counted"
    assert lines[4] == "     2 incomplete runs not counted"
    assert "not counted" not in "\n".join(lines_of(compare_rows([scored("a", 1.0)], [row("b")])))


def test_incomplete_runs_beside_complete_ones(tmp_path):
    """Told once of a folder; of a model, whose rows they are as well, no other row to choose."""
    found = [record("a", 30.0), record("a", 9.0, 1, evaluated=3), record("b", 31.0)]
    for one in found:
        write_record(one, tmp_path / one.model)
    rows = rows_of(found, every_incomplete=True)
    assert [one.complete for one in rows].count(False) == 1, "the case is there"
    for lines in (compare_lines(tmp_path / "a", tmp_path / "b"), compare_lines("a", "b", rows)):
        assert [line for line in lines if "not counted" in line] == [
            "     1 incomplete run not counted"
        ]
        assert "30.00 (1)" in lines[-1]
    part = rows_of(found[1:], every_incomplete=True)
    assert "incomplete: 3 of 4 evaluated" in "\n".join(compare_lines("a", "b", part))


def test_a_key_twice_is_no_comparison():
    theirs = row("a", "published", source="paper")
    others = [theirs, row("b", "published", source="paper", protocol="other")]
    for rows in (others, lambda: [replace(one) for one in others]):
        for second in (theirs.key, "A"):
            with pytest.raises(BadDataError, match="both sides are the same row") as caught:
                compare(theirs.key, second, rows)
            assert theirs.key in str(caught.value)


def test_two_rows_need_a_metric_in_common():
    with pytest.raises(ConfigError, match="no metric in common"):
        compare_rows([row("a")], [row("b", scores={"macc": Score(1.0)})])


# ----------------------------------------------------------------------------------- where they are


def test_files_folders_suites_keys_and_models(tmp_path, monkeypatch):
    for model, base in (("a", 30.0), ("b", 35.0)):
        for seed in range(3):
            cell = tmp_path / "suite" / model / f"seed-{seed}"
            write_record(record(model, base + seed / 10, seed), cell / "records")
    old = tmp_path / "suite/b/seed-0.old-1"
    write_record(record("b", 1.0, 0), old / "records")
    found = only(compare(tmp_path / "suite/a", tmp_path / "suite/b"))
    assert (found.a.runs, found.b.runs) == (3, 3) and found.verdict == EXCEEDS
    assert found.b.mean == pytest.approx(35.1), "what was set aside does not count"

    (tmp_path / "suite/a").rename(tmp_path / "suite/a_1.5")
    (tmp_path / "suite/a_1.5").joinpath("seed-0").rename(tmp_path / "exp.v2")
    assert only(compare(tmp_path / "exp.v2", tmp_path / "suite/b")).a.runs == 1, "a dot is no age"
    assert only(compare(tmp_path / "suite/a_1.5", tmp_path / "suite/b")).a.runs == 2
    (tmp_path / "exp.v2").rename(tmp_path / "suite/a_1.5/seed-0")
    (tmp_path / "suite/a_1.5").rename(tmp_path / "suite/a")

    file = next((tmp_path / "suite/a/seed-1/records").glob("*.json"))
    found = only(compare(file, tmp_path / "suite/b/seed-2/records"))
    assert found.value == pytest.approx(-5.1) and found.verdict.startswith(UNKNOWN)
    assert only(compare(tmp_path / "suite/a/seed-0", file)).value == pytest.approx(-0.1)

    rows = rows_of([record("Tiny", 30.0), record("small", 31.0)])
    assert only(compare("tiny", rows[1].key, rows)).value == -1.0
    text = "\n".join(compare_lines("tiny", "small", lambda: rows))
    assert "mIoU (%)  30.00 (1)  31.00 (1)  -1.00" in text and text.endswith("(one run)")
    compare_lines(file, tmp_path / "suite/b/seed-2/records", lambda: 1 / 0)  # needs no rows
    with pytest.raises(MissingDataError, match="no key or model of a row") as caught:
        compare("tiyn", "small", rows)
    assert "Tiny" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDataError, match="no records"):
        compare(tmp_path / "empty", "small", rows)


def test_the_lines_show_means_spreads_and_the_verdict():
    a = of_values("a", [30.1, 30.5, 29.8], seeds=(0, 1, 2))
    b = of_values("b", [33.0, 33.4, 32.7], seeds=(0, 1, 2))
    lines = lines_of(compare_rows([a], [b]))
    assert lines[0] == "Semantic segmentation, CamVid, test, p@single-scale"
    assert lines[1] == "  A  a (measured, seeds 0 1 2)  measured/a"
    assert lines[-2].split() == "metric A B A - B 95% interval verdict".split()
    assert lines[-1].startswith("  mIoU (%)  30.13 +- 0.35 (3)  33.03 +- 0.35 (3)  -2.90  -3.")
    assert lines[-1].endswith("B better, exceeds the spread")
