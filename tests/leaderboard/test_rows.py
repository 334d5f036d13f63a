"""From run records to ranked rows: what is one row, what counts, and what is never mixed."""

import csv
import io
import itertools
import statistics
from dataclasses import replace

import pytest

from lightvit_bench.bench.latency import Latency
from lightvit_bench.bench.machine import describe_machine
from lightvit_bench.bench.parts import ModelSize, Recipe, StoredFiles
from lightvit_bench.bench.record import RunRecord
from lightvit_bench.errors import BadDataError
from lightvit_bench.leaderboard.boards import boards_of
from lightvit_bench.leaderboard.csv_file import HEAD, csv_text, speed_text
from lightvit_bench.leaderboard.measured import rows_of
from lightvit_bench.leaderboard.readme import readme_block
from lightvit_bench.leaderboard.rows import NOT_NAMED, Row, Score, Speed

MACHINE = describe_machine()
NUMBER = itertools.count()


def run(**changes):
    """A record of a segmentor."""
    fields = dict(
        task="segmentation",
        model="upernet_dmae_tiny",
        values={"miou": 30.0, "macc": 40.0, "pixels": 5},
        origin="measured",
        date=f"2026-11-22T10:{next(NUMBER) % 60:02d}:00Z",
        dataset="CamVid",
        split="test",
        protocol="camvid-test@single-scale",
        expected=233,
        evaluated=233,
        seed=0,
        config="configs/camvid/upernet_dmae_tiny.py",
        config_sha256="cd" * 32,
        checkpoint="work_dirs/a/iter_400.pth",
        checkpoint_sha256="ab" * 32,
        commit="3f2a" * 10,
        command="tools/test.py ...",
        machine=MACHINE,
        recipe=Recipe(head="UPerNet"),
        size=ModelSize(parameters=11_000_000),
    )
    return RunRecord(**{**fields, **changes})


def timed(track=10.0, **changes):
    """A record of tracker latency."""
    values = dict.fromkeys(
        (
            *("network_ms", "end_to_end_ms", "frames_per_second", "load_seconds"),
            *("peak_memory_mb", "boxes_max_difference_px", "boxes_mean_difference_px"),
            *("auc", "targets"),
        )
    )
    values["track_ms"] = Latency.of([track / 1000]).as_dict()
    fields = dict(task="tracking-latency", dataset="bag", split=None, protocol=None, seed=None)
    fields |= dict(values={**values, **changes.pop("values", {})}, runtime="openvino", threads=2)
    return run(**{**fields, **changes})


def weights(number):
    return dict(checkpoint_sha256=f"{number:02d}" * 32)


def only(records):
    (row,) = rows_of(records)
    return row


def test_seeds_are_one_row_with_mean_and_standard_deviation():
    values = (30.0, 31.0, 35.0)
    records = [run(seed=s, values={"miou": v}, **weights(s)) for s, v in enumerate(values)]
    row = only(records)
    score = row.scores["miou"]
    assert (score.mean, score.runs, row.seeds) == (32.0, 3, (0, 1, 2))
    assert score.std == pytest.approx(statistics.stdev(values))
    assert set(row.scores) == {"miou"} and len(row.records) == 3


def test_a_metric_that_one_seed_lacks_has_no_mean():
    row = only([run(seed=0), run(seed=1, values={"miou": 20.0}, **weights(1))])
    assert set(row.scores) == {"miou"}


def test_of_a_seed_the_newest_run_counts():
    old, new = run(values={"miou": 1.0}), run(values={"miou": 2.0})
    old, new = (replace(r, date=f"2026-11-2{i}T00:00:00Z") for i, r in enumerate((old, new)))
    for records in ([old, new], [new, old]):
        assert only(records).scores["miou"] == Score(2.0)


@pytest.mark.parametrize(
    "other",
    [
        dict(model="another"),
        dict(split="val"),
        dict(protocol="camvid-test@multi-scale-flip"),
        dict(dataset="ADE20K"),
        dict(origin="demo"),
        dict(config_sha256="ef" * 32),
        dict(checkpoint="work_dirs/a/iter_800.pth"),
        dict(precision="bf16"),
        dict(variant="windows"),
    ],
)
def test_what_differs_in_more_than_the_seed_is_another_row(other):
    assert len(rows_of([run(), run(seed=1, **other)])) == 2
    assert len({row.key for row in rows_of([run(), run(seed=1, **other)])}) == 2


def test_incomplete_runs_do_not_count_where_there_are_complete_ones():
    partial = run(seed=1, evaluated=100, values={"miou": 90.0})
    assert only([run(), partial]).scores["miou"] == Score(30.0)
    alone = only([partial])
    assert not alone.complete and (alone.expected, alone.evaluated) == (233, 100)
    boards = boards_of(rows_of([partial, run(model="whole")]))
    assert [
        (row.model, rank) for row, rank in zip(boards[0].rows, boards[0].ranks, strict=True)
    ] == [
        ("whole", 1),
        ("upernet_dmae_tiny", None),
    ]


def test_every_incomplete_run_is_shown_beside_the_complete_ones():
    part = dict(evaluated=49, values={"miou": 99.0})
    records = [run(seed=0), run(seed=1, **part, **weights(1)), run(seed=2, **part, **weights(2))]
    # an older try of seed 0, which a complete one has followed
    records.append(replace(run(seed=0, **part), date="2020-01-01T00:00:00Z"))
    rows = rows_of(records, every_incomplete=True)
    assert sorted((row.complete, row.seeds) for row in rows) == [
        (False, (1,)),
        (False, (2,)),
        (True, (0,)),
    ]
    whole = next(row for row in rows if row.complete)
    assert whole.left_out == 2 and "2 incomplete runs" in whole.remarks[-1]
    assert len({row.key for row in rows}) == 3
    (board,) = boards_of(rows)
    assert board.ranks == (1, None, None)
    assert len(rows_of(records)) == 1
    alone = rows_of(records[1:3], every_incomplete=True)
    assert len(alone) == 2 and not any(row.left_out for row in alone)


def test_a_row_says_that_the_commit_had_changes():
    assert "changes" in only([run(commit="3f2a" * 10 + "+changes")]).remarks[-1]
    assert not only([run()]).remarks


def test_times_of_the_newest_state_alone_count():
    records = [timed(10.0), timed(30.0, commit="5e" * 20), timed(20.0, commit="5e" * 20)]
    days = ("2026-11-20", "2026-11-21", "2026-11-22")
    records = [replace(r, date=f"{d}T00:00:00Z") for r, d in zip(records, days, strict=True)]
    score = only(records).scores["track_ms"]
    assert (score.mean, score.runs) == (pytest.approx(25.0), 2)


def test_times_of_machines_threads_and_targets_are_apart():
    other = replace(MACHINE, cpu="another CPU")
    boards = boards_of(
        rows_of(
            [
                timed(),
                timed(machine=other),
                timed(values={"targets": 2}),
                timed(5.0, threads=1),
            ]
        )
    )
    assert [len(board.rows) for board in boards] == [2, 1, 1]
    places = {board.rows[0].place for board in boards}
    assert len(places) == 2 and any("another CPU" in place for place in places)
    # less time is better
    best = next(board for board in boards if len(board.rows) == 2)
    assert [round(row.scores["track_ms"].mean, 6) for row in best.rows] == [5.0, 10.0]


def test_accuracy_has_the_times_of_the_same_weights():
    scored = run(task="tracking", values={"auc": 63.0}, dataset="bag", **weights(1))
    rows = rows_of([scored, timed(8.0, **weights(1)), timed(9.0, **weights(2), model="other")])
    (row,) = [one for one in rows if one.task == "tracking"]
    (speed,) = row.speeds
    assert (speed.value, speed.unit, speed.threads) == (pytest.approx(8.0), "ms", 2)
    assert speed.source is None
    assert speed.device == MACHINE.hardware


def test_an_exported_file_is_as_large_as_the_weights_it_was_made_of():
    exported = dict(exported="t.xml", exported_sha256="ef" * 32, size=None, **weights(1))
    rows = rows_of([run(**weights(1)), run(**exported), run(model="x", size=None, **weights(2))])
    assert sorted(row.size.parameters or 0 for row in rows) == [0, 11_000_000, 11_000_000]


def test_an_unknown_task_is_refused():
    with pytest.raises(BadDataError, match="does not know"):
        rows_of([run(task="segmentaton")])


def row(model="m", score=50.0, **changes):
    fields = dict(key=f"k{next(NUMBER)}", origin="published", task="tracking", dataset="LaSOT")
    fields |= dict(split="test", protocol="p", model=model, scores={"auc": Score(score)})
    return Row(**{**fields, **changes})


def test_ranks_within_a_board_alone_and_ties_share_one():
    rows = [row("a", 60), row("b", 70), row("c", 60), row("d", 50), row("e", scores={})]
    rows.append(row("measured", 99, origin="measured", expected=2, evaluated=2))
    first, second = boards_of(rows)
    assert [r.model for r in first.rows] == ["measured"] and first.ranks == (1,)
    assert [r.model for r in second.rows] == ["b", "a", "c", "d", "e"]
    assert second.ranks == (1, 2, 2, 4, None)


def test_the_csv_has_every_row_and_figure():
    rows = [
        row("with, comma", 66.1, remarks=('says "quoted"',), size=ModelSize(parameters=7)),
        row("two", 64.12345679, origin="measured", seeds=(0, 1), expected=2, evaluated=1),
        row("third", scores={"auc": Score(60.0, 0.25, 3), "precision": Score(1 / 3)}),
    ]
    boards = boards_of(rows)
    lines = list(csv.DictReader(io.StringIO(csv_text(boards))))
    assert tuple(lines[0]) == HEAD and len(lines) == 3
    by_model = {line["model"]: line for line in lines}
    assert by_model["with, comma"]["remarks"] == 'says "quoted"'
    assert by_model["with, comma"]["rank"] == "1" and by_model["third"]["rank"] == "2"
    assert by_model["two"]["rank"] == "" and by_model["two"]["complete"] == "no"
    assert float(by_model["two"]["auc"]) == 64.12345679
    assert by_model["third"]["auc_std"] == "0.25" and by_model["third"]["runs"] == "3"
    assert by_model["with, comma"]["parameters"] == "7"


def test_a_speed_says_when_nobody_names_the_cpu():
    assert speed_text(Speed(41, "frames/s", NOT_NAMED, "cpu")) == "41 frames/s, CPU not named"
    told = speed_text(Speed(8.1, "ms", "i5", "cpu", "track", "openvino", "bf16", 1))
    assert told == "8.1 ms, CPU i5, track, openvino, bf16, 1 thread"


def test_the_readme_tells_published_from_measured():
    small = ModelSize(backbone_parameters=5_800_000)
    boards = boards_of(
        [
            row("ours", 66.1, key="mae-lite/a", size=small, recipe=Recipe(fine_tuning="labels")),
            row("ours, larger", 68.0, key="mae-lite/b", size=ModelSize(parameters=22_000_000)),
            row("large", 75.0, size=ModelSize(backbone_parameters=90_000_000)),
            row("small", 70.0, size=small),
            row(
                *("here", 63.4),
                origin="measured",
                dataset="bag",
                protocol="ope|1",
                expected=1,
                evaluated=1,
            ),  # fmt: skip
            row("toy", 99.0, origin="demo"),
        ]
    )
    text = readme_block(boards)
    measured, published = text.split("Published by others")
    assert "here" in measured and "63.4" in measured and "66.1" not in measured
    assert "66.1 (ours; before it: labels)" in published and "70.0 (small)" in published
    assert "`ope\\|1`" in measured  # a bar would begin another cell
    assert not any(score in text for score in ("75.0", "68.0", "99.0"))
    assert "1 rows measured here, 4 published" in text.replace("\n", " ")


def test_the_same_weights_tested_again_are_one_run():
    row = only([run(seed=s) for s in range(3)])
    assert row.scores["miou"] == Score(30.0) and row.seeds == (2,)


def test_result_files_of_two_trackers_of_one_name_are_two_rows():
    plain = dict(task="tracking", model="ours", values={"auc": 60.0}, seed=None)
    plain |= dict(config=None, config_sha256=None, checkpoint=None, checkpoint_sha256=None)
    stored = (StoredFiles("tracks", "a/ours", 1, digit * 64) for digit in "12")
    rows = rows_of([run(**plain, predictions=files) for files in stored])
    assert len(rows) == 2


def test_weights_of_no_known_seed_are_rows_of_their_own():
    assert len(rows_of([run(seed=None, **weights(number)) for number in (1, 2)])) == 2
    assert len(rows_of([run(seed=None, **weights(1)) for _ in range(2)])) == 1


def test_runs_of_another_length_or_set_are_not_averaged():
    long, short = (timed(expected=n, evaluated=n, values={"frames": n}) for n in (1000, 5))
    assert len(rows_of([long, short])) == 2
    old = run(seed=0, expected=100, evaluated=100, values={"miou": 90.0}, **weights(1))
    new = run(seed=1, values={"miou": 10.0}, **weights(2))
    old, new = (replace(r, date=f"2026-11-2{i}T00:00:00Z") for i, r in enumerate((old, new)))
    assert only([old, new]).scores["miou"] == Score(10.0)


@pytest.mark.parametrize(
    "less",
    [
        dict(expected=4, evaluated=4),
        dict(expected=None, evaluated=None),
    ],
)
def test_fewer_images_under_one_protocol_are_not_ranked(less):
    rows = rows_of([run(model="whole"), run(model="part", values={"miou": 99.0}, **less)])
    (board,) = boards_of(rows)
    assert [row.model for row in board.rows] == ["whole", "part"] and board.ranks == (1, None)


def test_without_a_protocol_nothing_is_ranked():
    (board,) = boards_of(rows_of([run(protocol=None)]))
    assert board.ranks == (None,)


@pytest.mark.parametrize("value", [150.0, -3.0, 1e308, {"median": {"a": 1}}])
def test_figures_out_of_range_are_named(value):
    with pytest.raises(BadDataError, match="values.miou") as error:
        rows_of([run(values={"miou": value})])
    assert "segmentation_upernet" in str(error.value)
