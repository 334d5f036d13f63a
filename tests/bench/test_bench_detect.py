"""Speed and memory of detectors: what is measured, what is recorded, and the table made of it."""

import json
import subprocess
import sys
from dataclasses import replace

import forked
import pytest
import torch
from mmengine.registry import MODELS

from lightvit_bench.bench.blocks import block_of
from lightvit_bench.bench.detection_runs import (
    DETECTION_SPEED,
    KEYS,
    DetectionRun,
    Spread,
    detection_speed,
)
from lightvit_bench.bench.record import RunRecord, read_records, write_record
from lightvit_bench.bench.tables import NOTHING
from lightvit_bench.detection import speed, speed_case
from lightvit_bench.detection.speed_case import Case, Job
from lightvit_bench.errors import BadDataError, ConfigError
from lightvit_bench.openmmlab.config import load_config

CONFIG = "configs/coco/mask_rcnn_random_tiny.py"
# Fewer regions: heads cost a small image as much as a large one.
QUICK = (
    "model.train_cfg.rcnn.sampler.num=16",
    "model.train_cfg.rpn_proposal.max_per_img=60",
    "model.test_cfg.rpn.max_per_img=60",
)
BASE = Case(True, "fp32", True, 14, "decomposed", True)


def job(repo, case=BASE, **changes):
    fields = dict(
        config=str(repo / CONFIG),
        options=QUICK,
        case=case,
        device="cpu",
        threads=1,
        size=64,
        batch=1,
        steps=1,
        warm_up=0,
        seed=0,
    )
    return Job(**{**fields, **changes})


def record(minute=0, values=None, **changes):
    def spread(value):
        return {"median": value, "least": 0.9 * value, "most": 1.2 * value}

    figures = {
        "training": 0,
        "encoder_options": 1,
        "window": 14,
        "relative_positions": 1,
        "checkpointing": None,
        "image_px": 640,
        "batch": 1,
        "rounds": 3,
        "steps": 5,
        "model_ms": spread(1000.0),
        "encoder_ms": spread(200.0),
        "times_as_fast_as_global": {"model": 1.2, "encoder": 2.345},
        "model_tensors_mb": 1234.4,
        "encoder_tensors_mb": 56.6,
        "process_mb": spread(2000.0),
        "objects_found": 87,
        "mask_regions": 87,
    }
    fields = dict(
        task=DETECTION_SPEED,
        model="mask_rcnn",
        values={**figures, **(values or {})},
        origin="demo",
        date=f"2026-11-22T10:{minute:02}:00Z",
        dataset="noise",
        expected=15,
        evaluated=15,
        precision="fp32",
        threads=2,
        commit="1234567" + "0" * 33,
        command="tools/bench_detect.py CONFIG",
        device="cpu",
    )
    return RunRecord(**{**fields, **changes})


def rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells for cells in found if cells[0] not in ("attention", "---")]


def train(**values):
    return {"training": 1, "checkpointing": 1, "objects_found": None, **values}


# -------------------------------------------------------------------------------------- the table


def test_without_records_the_table_says_so():
    assert detection_speed([]) == NOTHING
    other = RunRecord("segmentation", "m", {"mIoU": 1}, "demo", "2026-01-01T00:00:00Z", command="x")
    assert detection_speed([other]) == NOTHING


def test_a_row_has_the_figures_of_its_record():
    text = detection_speed([record()])
    assert rows(text) == [
        [
            *("windows of 14", "yes", "fp32", "1,000 (900 to 1,200)", "200 (180 to 240)"),
            *("2.35", "1,234", "57", "2,000 (1,800 to 2,400)"),
        ]
    ]
    flat = " ".join(text.split())
    assert "mask\\_rcnn, inference, 1 image of 640 x 640 px, 87 objects found, 87 regions" in flat
    assert "Data: noise, generated. Timed steps: 3 rounds of 5." in flat
    assert text.endswith("\n\n    tools/bench_detect.py CONFIG")


def test_rows_are_in_order_and_training_has_a_table_of_its_own():
    ways = [
        (1, train()),
        (2, train(checkpointing=0)),
        (3, train(window=None, times_as_fast_as_global={"model": 2.0, "encoder": 1.0})),
        (4, train(relative_positions=0)),
        (5, {}),
    ]
    text = detection_speed([record(minute, values) for minute, values in ways])
    table = [cells[:4] for cells in rows(text)]
    assert table == [
        ["windows of 14", "yes", "fp32", "1,000 (900 to 1,200)"],  # inference
        ["global", "yes", "fp32", "yes"],
        ["windows of 14", "yes", "fp32", "no"],
        ["windows of 14", "yes", "fp32", "yes"],
        ["windows of 14", "no", "fp32", "yes"],
    ]
    assert text.count("| checkpointing |") == 1 and text.count("a training step") == 2
    assert [cells[6] for cells in rows(text)[1:]] == ["1", "2.35", "2.35", "2.35"]


def test_the_last_run_of_a_case_counts_and_others_stay_apart():
    slow = {"model_ms": {"median": 5.0, "least": 5.0, "most": 5.0}}
    text = detection_speed([record(3, slow), record(1), record(2, precision="bf16")])
    assert [cells[3] for cells in rows(text)] == ["5.00", "1,000 (900 to 1,200)"]
    for other in (dict(model="b"), dict(values={"batch": 2}), dict(values={"image_px": 1024})):
        assert detection_speed([record(), record(1, **other)]).count("| attention |") == 2
    for other in (dict(device="a GPU"), dict(origin="measured"), dict(dataset="photographs")):
        assert detection_speed([record(), record(1, **other)]).count("Data: ") == 2
    text = detection_speed([record(), record(1, threads=1)])
    assert text.count("| threads |") == 1 and [cells[3] for cells in rows(text)] == ["1", "2"]
    left = detection_speed([record(), record(1, evaluated=9, precision="bf16")])
    assert len(rows(left)) == 1 and left.endswith("Left out: 1 run of fewer steps than expected.")


def test_an_encoder_of_another_kind_has_no_ways():
    none = dict.fromkeys(("window", "relative_positions", "checkpointing"))
    values = {"encoder_options": 0, **none, "times_as_fast_as_global": None, "process_mb": None}
    (cells,) = rows(detection_speed([record(values=values)]))
    assert cells[:2] == ["the encoder's own", "–"] and cells[-1] == "–"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"training": 2}, "values.training"),
        ({"training": None}, "values.training"),
        ({"window": 0}, "values.window"),
        ({"image_px": 1.5}, "values.image_px"),
        ({"model_ms": 3}, "values.model_ms"),
        ({"model_ms": None}, "values.model_ms"),
        ({"model_ms": {"median": 1, "least": 2, "most": 3}}, "values.model_ms.median"),
        ({"encoder_ms": {"median": 1, "least": 1}}, "values.encoder_ms"),
        ({"encoder_tensors_mb": -1}, "values.encoder_tensors_mb"),
        ({"objects_found": -1}, "values.objects_found"),
        ({"times_as_fast_as_global": 2}, "values.times_as_fast_as_global"),
        ({"times_as_fast_as_global": {"model": 2}}, "values.times_as_fast_as_global.encoder"),
    ],
)
def test_values_of_another_kind_are_refused(values, field):
    one = record(values=values)
    with pytest.raises(BadDataError) as error:
        DetectionRun.of(one)
    assert error.value.details["field"] == [field]
    assert error.value.details["record"] == [one.file_name]


def test_every_value_is_given_if_only_as_null():
    one = record()
    assert set(one.values) == set(KEYS)
    short = {key: value for key, value in one.values.items() if key != "window"}
    with pytest.raises(BadDataError, match="lacks values") as error:
        detection_speed([replace(one, values=short)])
    assert error.value.details["field"] == ["values.window"]


def test_the_block_is_written_into_the_document(repo, tmp_path):
    page, records = tmp_path / "benchmarks.md", tmp_path / "records"
    begin = "<!-- begin: detection-cpu (made by tools/make_docs.py; do not edit) -->\n"
    page.write_text(begin + "<!-- end: detection-cpu -->\n")
    write_record(record(), records)
    command = [sys.executable, str(repo / "tools/make_docs.py"), "--docs", str(tmp_path)]
    done = subprocess.run([*command, "--records", str(records)], capture_output=True, text=True)
    assert "detection-cpu: written" in done.stdout, done.stderr
    assert block_of(page.read_text(), "detection-cpu") == detection_speed([record()])


# -------------------------------------------------------------------------------------- the cases


def cases(repo, *options, config=CONFIG, **request):
    cfg = load_config(repo / config, options)
    return speed.cases_of(cfg, speed.Request(config, **request))


def test_every_way_of_running_the_encoder_is_a_case(repo):
    found = cases(repo)
    assert len(found) == len(set(found)) == 2 * (4 + 8)
    assert BASE in found and Case(False, "bf16", True, None, False, None) in found
    assert all((case.checkpointing is None) == (not case.training) for case in found)
    assert len({case.name for case in found}) == len(found)
    one = cases(
        repo, task=("training",), precision=("fp32",), attention=("windows",),
        rel_pos=("yes",), checkpointing=("yes",),
    )  # fmt: skip
    assert one == [BASE]


def test_what_a_config_has_not_is_no_case(repo):
    plain = cases(repo, "model.backbone.window=None", "model.backbone.rel_pos=False")
    assert len(plain) == 2 * (1 + 2) and {case.window for case in plain} == {None}
    cfg = load_config(repo / CONFIG)
    cfg.model.backbone = dict(type="ResNet", depth=18)
    other = speed.cases_of(cfg, speed.Request(CONFIG))
    assert [case.ours for case in other] == [False] * 4
    assert {case.variant for case in other} == {"as configured"}
    with pytest.raises(ConfigError, match="no case"):
        cases(repo, precision=())


def test_a_case_is_written_into_the_config(repo):
    cfg = load_config(repo / CONFIG)
    cfg.model.backbone.init = "a.safetensors"
    speed_case.configure(cfg, job(repo, Case(True, "fp32", True, None, False, False), size=96))
    backbone = cfg.model.backbone
    ways = (backbone.window, backbone.rel_pos, backbone.checkpointing)
    assert ways == (None, False, False) and backbone.init == "random"
    assert cfg.model.data_preprocessor.pad_size_divisor == 96
    speed_case.configure(cfg, job(repo, Case(False, "fp32", True, 14, "decomposed", None)))
    assert (backbone.window, backbone.rel_pos, backbone.checkpointing) == (14, "decomposed", False)


def test_a_job_travels_as_json(repo):
    one = job(repo)
    assert Job.from_json(one.to_json()) == one


# ------------------------------------------------------------------------------------ the measures


@pytest.fixture
def threads():
    """A job sets their number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("training", [True, False])
def test_a_report_has_times_memory_and_what_there_was_to_do(repo, threads, training):
    infer = replace(BASE, training=False, precision="bf16", checkpointing=None)
    report = speed_case.work(job(repo, BASE if training else infer))
    json.dumps(report)
    assert len(report["model"]) == len(report["encoder"]) == 1
    assert report["model"][0] > 0 and report["encoder"][0] > 0
    assert report["model_bytes"] > report["encoder_bytes"] > 0
    assert report["process_mb"] > report["model_bytes"] / 1e6
    # Objects are found, and their masks are predicted; in training there are regions with one.
    if training:
        assert report["found"] is None and report["regions"] >= 1
    else:
        assert report["found"] == report["regions"] > 10


def test_boxes_are_made_to_be_of_some_class():
    """As many as a trained model's, and each call the same: of regions, and of a pyramid."""
    hook = speed_case.Confident(images=1, seed=0)
    regions, deltas = torch.randn(1000, 81).bfloat16(), torch.randn(1000, 320)
    scores, same = hook(None, None, (regions, deltas))
    assert same is deltas and scores.shape == (1000, 81) and scores.dtype is torch.bfloat16
    shares = scores.float().softmax(-1)[:, :-1]
    passing = (shares > 0.05).sum()
    assert 200 < passing <= speed_case.CANDIDATES and (shares > 0.5).sum() > 50
    assert hook(None, None, (regions, deltas))[0] is scores

    levels = [torch.randn(2, 4, side, side) for side in (40, 20, 10)]
    levels[0] = levels[0].to(memory_format=torch.channels_last)
    found = speed_case.Confident(images=2, seed=0)(None, None, (levels, "boxes"))
    assert found[1] == "boxes" and [one.shape for one in found[0]] == [one.shape for one in levels]
    assert found[0][0].stride() == levels[0].stride()
    passing = sum((one.sigmoid() > 0.05).sum() for one in found[0])
    assert passing == pytest.approx(2 * speed_case.CANDIDATES, abs=3)
    assert all((one < -7).any() and (one > -3).any() for one in found[0])


@pytest.mark.parametrize("name", ["retinanet_dmae_tiny", "rtmdet_dmae_tiny"])
def test_one_stage_detectors_are_measured_too(repo, threads, name):
    config, ways = str(repo / f"configs/coco/{name}.py"), dict(window=14, rel_pos="decomposed")
    for training in (True, False):
        case = Case(training, "fp32", True, **ways, checkpointing=True if training else None)
        report = speed_case.work(job(repo, case, config=config, options=()))
        assert report["regions"] is None
        assert training or report["found"] > 10


def test_checkpointing_saves_memory_of_the_encoder(repo):
    image, found = torch.zeros(1, 3, 320, 320), {}
    for kept in (True, False):
        one = job(repo, replace(BASE, checkpointing=kept))
        cfg = load_config(repo / CONFIG)
        speed_case.configure(cfg, one)
        backbone = MODELS.build(cfg.model.backbone).train()
        step = speed_case.encoder_step(backbone, one)
        found[kept] = speed_case.most_bytes(lambda step=step: step(image), one)
    assert found[True] < 0.6 * found[False]


def test_the_most_bytes_are_those_alive_at_once(repo):
    def step():
        first, second = torch.ones(1000), torch.ones(1000)
        del first
        return second + torch.ones(1000), torch.ones(250)

    # second, the ones it is added to and the sum; the 250 come after the ones are gone
    assert speed_case.most_bytes(step, job(repo)) == pytest.approx(12_000, abs=300)


def test_the_training_step_trains(repo):
    one = job(repo)
    torch.manual_seed(0)
    model = speed_case.build(one)
    before = {name: value.clone() for name, value in model.named_parameters()}
    speed_case.training_step(model, one)(speed_case.noise(one))
    still = [n for n, value in model.named_parameters() if torch.equal(value, before[n])]
    trained = [name for name in before if name not in still]
    assert any("encoder" in name for name in trained) and any("mask_head" in n for n in trained)
    assert all(value.grad is None for value in model.parameters())


def test_noise_is_what_a_loader_gives(repo):
    data = speed_case.noise(job(repo, batch=2))
    for pixels, sample in zip(data["inputs"], data["data_samples"], strict=True):
        assert pixels.shape == (3, 64, 64) and pixels.dtype is torch.uint8
        truth = sample.gt_instances
        boxes, masks = truth.bboxes.tensor, torch.from_numpy(truth.masks.masks)
        assert masks.shape == (speed_case.OBJECTS, 64, 64)
        assert (boxes >= 0).all() and (boxes <= 64).all() and (boxes[:, 2:] > boxes[:, :2]).all()
        for box, mask in zip(boxes, masks, strict=True):
            y, x = mask.nonzero().T
            inside = (x >= box[0] - 1) & (x <= box[2]) & (y >= box[1] - 1) & (y <= box[3])
            assert len(x) and inside.all()
    assert not torch.equal(*data["inputs"])


# -------------------------------------------------------------------------------------- the rounds


def made(job, factor=1.0, memory=100):
    ms = factor * (2 if job.case.window is None else 1)
    return {
        "model": [10 * ms, 11 * ms, 30 * ms],
        "encoder": [ms, 2 * ms, 4 * ms],
        "model_bytes": memory * 10**6,
        "encoder_bytes": 10**6,
        "process_mb": 500.0 * factor,
        "regions": 12,
        "found": None if job.case.training else 34,
    }


def outcome_of(repo, run, **changes):
    request = speed.Request(
        str(repo / CONFIG), precision=("fp32",), rel_pos=("yes",), checkpointing=("yes",), **changes
    )
    said = []
    return speed.bench(request, said.append, run), said


def test_cases_take_turns_and_records_hold_medians_and_spread(repo):
    order = []

    def run(job):
        order.append(job.case)
        return made(job, factor=1 + (len(order) - 1) // 4)  # a machine that gets slower

    outcome, said = outcome_of(repo, run)
    assert len(order) == len(said) == 12 and order[:4] == order[4:8] == order[8:]
    assert len(set(order)) == 4
    records = {record.variant: record for record in speed.records_of(outcome, ["bench_detect.py"])}
    one = records["windows of 14, relative positions, checkpointing"]
    assert one.values["model_ms"] == {"median": 22_000, "least": 11_000, "most": 33_000}
    assert one.values["process_mb"] == {"median": 1000, "least": 500, "most": 1500}
    assert one.values["times_as_fast_as_global"] == {"model": 2, "encoder": 2}
    assert (one.values["model_tensors_mb"], one.values["batch"]) == (100, 2)
    assert (one.expected, one.evaluated, one.origin) == (9, 9, "demo")
    infer = records["windows of 14, relative positions"]
    assert (infer.values["batch"], infer.values["objects_found"]) == (1, 34)
    alone = records["global attention, relative positions"]
    assert alone.values["times_as_fast_as_global"] == {"model": 1, "encoder": 1}
    assert len(rows(detection_speed(records.values()))) == 4
    assert len({record.config_sha256 for record in records.values()}) == 1


def test_a_case_that_fails_is_told_of_and_the_others_go_on(repo):
    rounds = []

    def run(job):
        rounds.append(job)
        failing = job.case.training and job.case.window is None and len(rounds) > 4
        return {"failed": "no memory"} if failing else made(job)

    outcome, said = outcome_of(repo, run)
    assert len(rounds) == 11 and outcome.failures == [f"{rounds[2].case.name}: no memory"]
    assert any(line.endswith("failed: no memory") for line in said)
    records = speed.records_of(outcome, ["bench_detect.py"])
    assert [record.complete for record in records] == [True, True, False, True]
    assert "Left out: 1 run" in detection_speed(records)


def test_ratios_are_of_rounds_that_both_have():
    windows, plain = Case(False, "fp32", True, 14, False), Case(False, "fp32", True, None, False)

    def times(*seconds):
        return [{"model": [one], "encoder": [one / 2]} for one in seconds]

    two = [speed.Measured(windows, times(1, 10, 2)), speed.Measured(plain, times(3, 40))]
    assert speed.ratios(two[0], two) == {"model": 3.5, "encoder": 3.5}
    assert speed.ratios(two[0], two[:1]) is None
    assert speed.ratios(two[0], [two[0], speed.Measured(plain)]) is None


@pytest.mark.parametrize(
    "wrong", [dict(threads=0), dict(batch=0), dict(rounds=0), dict(steps=0), dict(warm_up=-1),
              dict(size=100), dict(size=0)],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(repo, wrong):
    with pytest.raises(ConfigError):
        outcome_of(repo, made, **wrong)


def test_only_detectors_are_timed(repo):
    config = str(repo / "configs/ade20k/upernet_random_tiny.py")
    with pytest.raises(ConfigError, match="no config of a detector"):
        speed.bench(speed.Request(config), print, made)


def test_a_process_that_dies_is_reported(repo, monkeypatch, tmp_path):
    tool = tmp_path / "tool.py"
    monkeypatch.setattr(speed, "TOOL", tool)
    tool.write_text("import sys; sys.exit('out of luck')")
    assert "with 1 and no report: out of luck" in speed.run_child(job(repo))["failed"]
    tool.write_text("print('a notice'); print('{\"model\": [1]}')")
    assert speed.run_child(job(repo)) == {"model": [1]}


def test_the_tool_measures_and_writes_records(repo, tmp_path):
    """Windows of this side are refused where the model is built: that case fails."""
    command = [
        *(repo / "tools/bench_detect.py", repo / CONFIG),
        *("--task", "inference", "--precision", "fp32", "--rel-pos", "yes", "--size", "64"),
        *("--threads", "1", "--rounds", "1", "--steps", "1", "--warm-up", "0"),
        *("--record", str(tmp_path / "records")),
        *("--cfg-options", "model.backbone.window=-3", *QUICK),
    ]
    done = forked.run(command)  # which starts itself as a program for each case
    assert done.returncode == 1, done.stderr
    assert "FAILED  inference, fp32, windows of -3, relative positions: Conf" in done.stdout
    (one,) = read_records(tmp_path / "records")
    assert one.command.startswith("tools/bench_detect.py configs/coco/") and one.threads == 1
    assert done.stdout.startswith(detection_speed([one])) and len(rows(done.stdout)) == 1
    run = DetectionRun.of(one)
    assert (run.training, run.window, run.relative_positions) == (False, None, True)
    assert run.model_ms == Spread(*[run.model_ms.median] * 3)
    assert done.stderr.count("round 1 of 1: ") == 2
