"""OpenMMLab's model index: made from the rows and the configs, and compared with both."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lightvit_bench.errors import BadDataError, MissingDataError
from lightvit_bench.leaderboard.build import Sources, read_rows
from lightvit_bench.leaderboard.config_files import UNREAD, found, read_config
from lightvit_bench.leaderboard.metafiles import FOLDERS, HEADER, metafiles
from lightvit_bench.leaderboard.rows import Row, Score

# The index's names of our metrics, written once more: a swap would stand in a table unseen.
NAMES = {
    "mIoU": "miou", "mAcc": "macc", "aAcc": "aacc", "box AP": "box_ap", "box AP50": "box_ap50",
    "mask AP": "mask_ap", "mask AP50": "mask_ap50", "Success": "auc", "Precision": "precision",
    "Normalized Precision": "norm_precision", "OP50": "op50", "OP75": "op75", "AO": "ao",
}  # fmt: skip
TASKS = {
    "segmentation": {"Semantic Segmentation"},
    "detection": {"Object Detection", "Instance Segmentation"},
    "tracking": {"Single Object Tracking"},
}


@pytest.fixture(scope="module")
def rows(repo):
    return read_rows(Sources.of(repo))


@pytest.fixture(scope="module")
def files(rows, repo):
    return {path: yaml.safe_load(text) for path, text in metafiles(rows, repo).items()}


def models(files):
    return [model for values in files.values() for model in values.get("Models", [])]


def test_the_files_are_those_of_the_rows(rows, repo):
    for path, text in metafiles(rows, repo).items():
        assert text.startswith(HEADER)
        assert (repo / path).read_text(encoding="utf-8") == text, f"{path}: leaderboard.py build"


def test_the_order_of_rows_changes_nothing(rows, repo):
    assert metafiles(rows[::-1], repo) == metafiles(rows, repo) == metafiles(rows)


def test_the_index_imports_all_and_every_config_is_a_model(files, repo):
    assert files["model-index.yml"] == {"Import": [p for p in files if p != "model-index.yml"]}
    there = {f"configs/{f}/{p.name}" for f in FOLDERS for p in (repo / "configs" / f).glob("*.py")}
    listed = [model["Config"] for model in models(files)]
    assert len(listed) == len(set(listed)) and set(listed) == there
    names = [model["Name"] for model in models(files)]
    assert len(names) == len(set(names))


def test_every_model_is_of_a_collection_and_every_collection_has_models(files):
    collections = [
        one["Name"] for values in files.values() for one in values.get("Collections", [])
    ]
    assert len(collections) == len(set(collections))
    assert {model["In Collection"] for model in models(files)} == set(collections)


def test_collections_name_a_file_that_is_there_and_whole_titles(files, repo):
    for path, values in files.items():
        for one in values.get("Collections", []):
            assert ((repo / path).parent / one["README"]).resolve() == repo / "README.md"
            paper = one.get("Paper")
            assert paper is None or len(paper["Title"].split()) > 5, one["Name"]
            assert paper is None or paper["URL"].startswith("https://arxiv.org/abs/"), one["Name"]
    papers = {
        one["Name"]: one.get("Paper") for v in files.values() for one in v.get("Collections", [])
    }
    assert papers["MaST_lasot"] is None  # its title is not at hand
    assert papers["TinyMIM_pretrain"]["URL"].endswith("2301.01296")


def test_a_models_size_is_its_rows(files, rows):
    by_key = {row.key: row for row in rows}
    looked_at = 0
    for model in models(files):
        sizes = [by_key[one["Row"]].size for one in model.get("Results", [])]
        for name, key in (
            ("Parameters", "parameters"),
            ("Backbone Parameters", "backbone_parameters"),
        ):
            assert (
                model["Metadata"].get(name) in [getattr(size, key) for size in sizes] or not sizes
            )
            looked_at += name in model["Metadata"]
    assert looked_at >= 20


def test_every_figure_is_its_rows(files, rows):
    by_key = {row.key: row for row in rows}
    seen = set()
    for model in models(files):
        for result in model.get("Results", []):
            row = by_key[result["Row"]]
            assert row.config == model["Config"] and row.dataset == result["Dataset"]
            assert row.origin == result["Origin"] and row.source == result.get("Source")
            assert result["Task"] in TASKS[row.task]
            for name, value in result["Metrics"].items():
                assert value == pytest.approx(row.scores[NAMES[name]].mean, abs=1e-4)
                assert ("mask" in name) == (result["Task"] == "Instance Segmentation")
                seen.add((row.key, NAMES[name]))
    published = [row for row in rows if row.origin == "published" and row.config]
    assert len(published) >= 10
    assert {(row.key, key) for row in published for key in row.scores} <= seen


def test_what_is_said_of_a_config_is_mmengines(files, repo):
    from mmengine.config import Config

    for model in models(files):
        path, said = repo / model["Config"], model["Metadata"]
        config = Config._file2dict(str(path))[0]
        assert said.get("Iterations") == config["train_cfg"].get("max_iters"), path
        assert said.get("Epochs") == config["train_cfg"].get("max_epochs"), path
        assert said["Batch Size"] == config["auto_scale_lr"]["base_batch_size"], path
        backbone = config["model"]["backbone"]
        assert (backbone.get("preset") or backbone.get("name")) in said["Architecture"], path


def measured(**changes):
    row = Row(
        "m/one", "measured", "tracking", "LaSOT", "test", "p", "ostrack", {"auc": Score(61.23456)}
    )
    return replace(row, config="configs/lasot/ostrack_mae_tiny.py", **changes)


def results(rows, repo, name="ostrack_mae_tiny_lasot"):
    text = metafiles(rows, repo)["configs/lasot/metafile.yml"]
    model = next(one for one in yaml.safe_load(text)["Models"] if one["Name"] == name)
    return model.get("Results", [])


def test_measured_runs_tell_their_spread(repo):
    row = measured(scores={"auc": Score(61.23456, 0.4, 3)}, expected=280, evaluated=280)
    (result,) = results([row], repo)
    assert result["Origin"] == "measured" and result["Runs"] == 3
    assert result["Metrics"] == {"Success": 61.2346}
    assert result["Standard Deviation"] == {"Success": 0.4}


@pytest.mark.parametrize(
    "row",
    [
        measured(expected=280, evaluated=279),
        measured(origin="demo"),
        measured(task="tracking-latency", scores={"track_ms": Score(9.0)}),
        replace(measured(), config="configs/lasot/gone.py"),
        replace(measured(), config="elsewhere/mine.py"),
    ],
)
def test_what_is_no_result_of_a_config_is_left_out(row, repo):
    assert results([row], repo) == []


def test_a_published_row_of_no_config_is_refused(repo):
    row = replace(measured(), origin="published", config="configs/lasot/gone.py")
    with pytest.raises(BadDataError, match="m/one"):
        metafiles([row], repo)


def test_no_configs_are_told(tmp_path):
    with pytest.raises(MissingDataError, match="configs"):
        metafiles([], tmp_path)


def test_a_config_is_read_and_not_run(tmp_path):
    mark = tmp_path / "run"
    (tmp_path / "base.py").write_text("a = dict(x=1, y=dict(z=2))\nb = dict(k=1)\n")
    (tmp_path / "own.py").write_text(
        f"_base_ = ['./base.py']\nn = 8\nc = n // 4 + 1\na = dict(y=dict(w={{'v': (1, 2)}}))\n"
        f"b = dict(_delete_=True, j=n / 0)\nd = open({str(mark)!r}, 'w')\n"
        f"open({str(mark)!r}, 'w')\ne, (f, g) = 1, (2, n)\n"
    )
    config = read_config(tmp_path / "own.py")
    assert config["a"] == {"x": 1, "y": {"z": 2, "w": {"v": [1, 2]}}}
    assert config["c"] == 3 and config["b"] == {"j": UNREAD} and config["d"] is UNREAD
    assert found(config, "a", "y", "z") == 2 and found(config, "b", "j") is None
    assert found(config, "a", "nowhere", "x") is None
    assert (config["e"], config["f"], config["g"]) == (1, 2, 8)
    assert not mark.exists()
    (tmp_path / "own.py").write_text("a = (\n")
    with pytest.raises(BadDataError, match="own.py"):
        read_config(Path(tmp_path / "own.py"))
