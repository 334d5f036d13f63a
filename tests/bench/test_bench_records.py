"""--record of benchmarks: what bench_backbone, bench_pairs and bench_pretrain measure is kept."""

import re
import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from torch import nn

from lightvit_bench.bench.record import read_records
from lightvit_bench.errors import ConfigError
from lightvit_bench.leaderboard.measured import rows_of
from lightvit_bench.openmmlab import backbone_speed
from lightvit_bench.pretrain import bench, speed
from lightvit_bench.tracking.training import bench_pairs
from lightvit_bench.tracking.training.pairs_record import record_of as pairs_record

NUMBER = r"([\d.,]+)"


@pytest.fixture
def tool(repo, monkeypatch, capsys):
    """Run a tool in this process, in the project's folder; what it printed."""
    monkeypatch.delenv("LIGHTVIT_TRACEBACK", raising=False)
    monkeypatch.chdir(repo)
    threads = torch.get_num_threads()

    def run(name, *arguments, code=None):
        monkeypatch.setattr(sys, "argv", [f"tools/{name}", *map(str, arguments)])
        ended = None
        try:
            runpy.run_path(f"tools/{name}", run_name="__main__")
        except SystemExit as end:
            ended = end.code
        out, err = capsys.readouterr()
        assert ended == code, err
        return out + err

    yield run
    torch.set_num_threads(threads)


def numbers(pattern, text):
    found = re.search(pattern, text)
    assert found, f"{pattern}\n{text}"
    return [float(one.replace(",", "")) for one in found.groups()]


# ----------------------------------------------------------------------------------------- backbone


class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 2, 16, 16)

    def forward(self, image):
        return [self.one(image)]


def test_bench_backbone_records_both_cases(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(backbone_speed, "backbones", lambda request: (Maps(), Maps()))
    seconds = iter([9.0, 9.0, 1.0, 2.0, 1.5, 4.5, 9.0, 9.0, 3.0, 3.0, 2.0, 4.0])
    for name in ("_infer", "_train"):
        monkeypatch.setattr(backbone_speed, name, lambda model, image: next(seconds))
    out = tool(
        *("bench_backbone.py", "--shape", 64, "--batch", 1, "--turns", 2, "--threads", 1),
        *("--rel-pos", "--record", tmp_path / "records"),
    )
    assert "inference      ours    1250 ms   mmseg    3250 ms   ratio 2.50 (2.00 to 3.00)" in out
    infer, train = sorted(read_records(tmp_path / "records"), key=lambda one: one.protocol)
    assert (infer.task, infer.protocol) == ("backbone-speed", "inference@64px-batch1")
    assert infer.values["model_ms"] == {"median": 1250.0, "least": 1000.0, "most": 1500.0}
    assert infer.values["times_as_fast_as_mmseg"] == {"median": 2.5, "least": 2.0, "most": 3.0}
    assert train.values["times_as_fast_as_mmseg"] == {"median": 1.5, "least": 1.0, "most": 2.0}
    assert (infer.values["training"], train.values["training"]) == (0, 1)
    assert (infer.expected, infer.evaluated, infer.threads, infer.seed) == (2, 2, 1, 0)
    assert (infer.origin, infer.precision, infer.variant) == ("demo", "fp32", "relative positions")
    assert infer.versions["onedl-mmsegmentation"] and infer.machine and infer.run != train.run
    assert infer.command.startswith("tools/bench_backbone.py --shape 64")
    rows = rows_of([infer, train])
    assert sorted(row.scores["model_ms"].mean for row in rows) == [1250.0, 2500.0]
    assert len({row.board for row in rows}) == 2, (
        "a step and a forward pass are not ranked together"
    )


def test_bench_backbone_times_the_two_architectures(tmp_path):
    threads = torch.get_num_threads()
    request = backbone_speed.Request(shape=32, batch=1, turns=1, threads=1)
    found = list(backbone_speed.bench(request))
    torch.set_num_threads(threads)
    assert [one.name for one in found] == ["inference", "training step"]
    assert all(min(*one.ours, *one.theirs) > 0 and len(one.ours) == 1 for one in found)


@pytest.mark.parametrize("options", [("--turns", 0), ("--shape", 100), ("--batch", 0)])
def test_bench_backbone_refuses_what_is_no_measurement(tool, options):
    assert "ConfigError" in tool("bench_backbone.py", *options, code=2)


@pytest.mark.parametrize(
    "words, measures",
    [
        (["bench_backbone.py"], "openmmlab.backbone_speed.bench"),
        (["bench_detect.py", "configs/coco/mask_rcnn_random_tiny.py"], "detection.speed.bench"),
        (["bench_page.py", "--rows", 1000], "leaderboard.page_speed.made_up_rows"),
        (["bench_pairs.py", "configs/stills/ostrack_tiny.py"],
         "tracking.training.bench_pairs.open_pairs"),
        (["bench_pretrain.py", "--precision", "fp32"], "pretrain.bench.matmul_rate"),
        (["bench_track.py"], "tracking.latency.bench.bench"),
        (["soak_track.py"], "tracking.latency.inputs.prepare"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_place_for_records_that_is_none_is_told_first(
    tool, tmp_path, monkeypatch, words, measures
):
    """A file, and a folder that takes no files (not even root's)."""

    def measure(*given, **options):
        raise AssertionError("measured before it was clear that there is a place for the record")

    monkeypatch.setattr(f"lightvit_bench.{measures}", measure)
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", "/proc"):
        out = tool(*words, "--record", place, code=2)
        assert f"ConfigError: --record {place}: no record can be written there." in out


# ------------------------------------------------------------------------------------- pre-training


def test_bench_pretrain_records_what_it_prints(tool, tmp_path, monkeypatch):
    load = bench.load_config
    monkeypatch.setattr(
        bench, "load_config", lambda path: load(path, ["model.backbone.preset=vit_test"])
    )
    monkeypatch.setattr(bench, "matmul_rate", lambda device, precision: 1e9)
    out = tool(
        *("bench_pretrain.py", "--methods", "mae", "--precision", "fp32", "--no-compile"),
        *("--batch", 2, "--turns", 3, "--threads", 1, "--record", tmp_path),
    )
    (record,) = read_records(tmp_path)
    values = record.values
    rate, share = numbers(rf"model alone: {NUMBER} images/s, {NUMBER} % of the product", out)
    assert values["images_per_second"]["median"] == pytest.approx(rate, abs=0.06)
    assert 100 * values["share_of_matrix_products"] == pytest.approx(share, abs=0.6)
    shown = numbers(rf"model is {NUMBER} times as fast \({NUMBER} to {NUMBER}\)", out)
    ratio = values["times_as_fast_as_plain"]
    assert [ratio[key] for key in ("median", "least", "most")] == pytest.approx(shown, abs=0.006)
    assert ratio["least"] <= ratio["median"] <= ratio["most"]
    spread = values["images_per_second"]
    assert spread["least"] <= spread["median"] <= spread["most"]
    student = numbers(rf"mae: {NUMBER} GMAC student", out)[0]
    assert values["macs"]["student"] / 1e9 == pytest.approx(student, abs=6e-4)
    assert (record.task, record.model, record.config) == (
        "pretraining-speed",
        "mae_tiny",
        "configs/pretrain/mae_tiny.py",
    )
    assert (record.runtime, record.precision, record.threads) == ("eager", "fp32", 1)
    assert (record.protocol, record.seed, record.remarks) == ("training@224px-batch2", 0, ())
    assert values["loader_images_per_second"] is None and record.evaluated == 3
    (row,) = rows_of([record])
    assert row.scores["images_per_second"].mean == spread["median"]


def test_a_pretraining_record_says_where_the_pictures_were(repo, monkeypatch):
    monkeypatch.chdir(repo)
    request = speed.Request(data_root="/somewhere/photos", batch=4, turns=2, plain=False)
    timed = speed.Timed(
        "configs/pretrain/mae_tiny.py", (1.0, 2.0), (), bench.Work(2, 1), 0.5, 0.01, 3.0
    )
    record = speed.record_of(request, timed, device="cpu", loader=100.0, argv=["tools/x.py"])
    assert record.values["times_as_fast_as_plain"] is None
    assert record.values["images_per_second"] == {"median": 4 / 1.5, "least": 2.0, "most": 4.0}
    assert record.values["with_loader_images_per_second"] == 3.0
    assert record.remarks[0].startswith("The loader's figures are of pictures in .../photos")
    assert record.runtime == "compiled" and record.values["macs"]["step"] == 7


# -------------------------------------------------------------------------------------------- pairs


def test_bench_pairs_records_every_number_of_workers(tool, tmp_path, monkeypatch):
    rates = iter([100.0, 300.0, 200.0, 50.0, 60.0, 70.0])
    monkeypatch.setattr(
        bench_pairs,
        "loader_rate",
        lambda cfg, pairs, n, count: bench_pairs.LoaderRate(n, next(rates)),
    )
    monkeypatch.setattr(
        bench_pairs,
        "training_rate",
        lambda cfg, pairs, n, steps: bench_pairs.TrainingRate(n, 40.0, 0.25),
    )
    from lightvit_bench.openmmlab.config import load_config

    monkeypatch.setattr(
        bench_pairs, "open_pairs", lambda path, options: (load_config(path, options), None)
    )
    config = "configs/stills/ostrack_tiny.py"
    out = tool(
        *("bench_pairs.py", config, "--workers", 2, 1, "--rounds", 3, "--pairs", 8),
        *("--steps", 5, "--record", tmp_path),
    )
    assert "2 workers: 200 pairs/s, 100 each; a trainer of 1,000 pairs/s needs 10.0" in out
    one, two = sorted(read_records(tmp_path), key=lambda record: record.values["workers"])
    assert two.values["pairs_per_second"] == {"median": 200.0, "least": 100.0, "most": 300.0}
    assert two.values["pairs_per_second_of_each"]["most"] == 150.0
    assert (two.values["waiting"], two.values["training_pairs_per_second"]) == (0.25, 40.0)
    assert (two.task, two.variant, two.dataset) == ("pairs-speed", "2 workers", "coco, photos")
    assert (two.origin, two.device, two.seed) == ("measured", "cpu", 0) and two.threads
    assert (one.protocol, one.variant) == ("1-worker", "1 worker")
    assert one.config == config and one.config_sha256 == two.config_sha256
    assert sorted(row.scores["pairs_per_second"].mean for row in rows_of([one, two])) == [60, 200]


@pytest.mark.parametrize(
    "dataset, origin, name",
    [
        (dict(data_root="data", sets=[dict(name="lasot"), dict(name="x", ratio=0)]),
         "measured", "lasot"),
        (dict(data_root="data", sets=[dict(name="folder", root="demo/tracking")]),
         "demo", "tracking"),
        (dict(data_root="data/demo", photos="photos"), "demo", "photos"),
    ],
)  # fmt: skip
def test_pairs_of_made_videos_are_a_demo(dataset, origin, name):
    cfg = Config(dict(train_dataloader=dict(batch_size=4, dataset=dataset)))
    rates = [bench_pairs.LoaderRate(0, 10.0)]
    record = pairs_record(cfg, "configs/a.py", rates, pairs=4, argv=["tools/x.py"])
    assert (record.origin, record.dataset) == (origin, name)
    assert (record.device, record.precision, record.threads) == (None, None, None)
    assert record.values["waiting"] is None


def test_a_request_says_what_it_needs():
    with pytest.raises(ConfigError, match="--turns is 1 or more"):
        backbone_speed.Request(turns=0)
