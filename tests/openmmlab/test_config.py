"""Configs are found or explained, and options arrive where they belong."""

import pytest

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.config import explain_config_errors, load_config
from lightvit_bench.vit import VisionTransformer

UPERNET = "configs/ade20k/upernet_dmae_tiny.py"


@pytest.fixture(autouse=True)
def in_repo(repo, monkeypatch):
    monkeypatch.chdir(repo)


@pytest.mark.parametrize(
    "typo", ["configs/ade20k/upernet_dmae_tyni.py", "configs/ade/upernet_dmae_tiny.py"]
)
def test_misspelt_config_lists_near_matches(typo):
    with pytest.raises(ConfigError, match=UPERNET):
        load_config(typo)


def test_file_that_is_no_config(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("model = dict(")
    with pytest.raises(ConfigError, match="broken.py is not a config"):
        load_config(path)


def test_short_options_reach_every_place():
    cfg = load_config(UPERNET, ["init=random", "data_root=/elsewhere", "skip_corrupt=True"])
    assert cfg.model.backbone.init == "random"
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.data_root == "/elsewhere"
        assert loader.dataset.skip_corrupt is True


def test_dotted_options_are_mmengines():
    cfg = load_config(UPERNET, ["train_cfg.max_iters=7", "model.backbone.out_blocks=1,2,3,4"])
    assert cfg.train_cfg.max_iters == 7
    assert cfg.model.backbone.out_blocks == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "option, near",
    [
        ("optm_wrapper.optimizer.lr=1", "optim_wrapper"),
        ("optim_wrapper.optimizr.lr=1", "optimizer"),
        ("train_pipeline.9.crop_size=3", "0, 1, 2"),
        ("iitt=random", "init"),
    ],
)
def test_misspelt_place_is_refused(option, near):
    with pytest.raises(ConfigError, match=f"near:.*{near}"):
        load_config(UPERNET, [option])


def test_a_value_has_no_entries():
    with pytest.raises(ConfigError, match="'lr' is a value"):
        load_config(UPERNET, ["optim_wrapper.optimizer.lr.max=1"])


@pytest.mark.parametrize("text", ["a = undefined", "import absent_module", "a = 1"])
def test_file_that_is_no_config_of_a_model(tmp_path, text):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match="broken.py is not"):
        load_config(path)


def test_errors_of_the_libraries_are_explained():
    cfg = load_config(UPERNET)
    with pytest.raises(ConfigError, match="drop_pth(?s:.*)spelling"), explain_config_errors(cfg):
        VisionTransformer("vit_test", drop_pth=0.1)
    with pytest.raises(ValueError, match="other"), explain_config_errors(cfg):
        raise ValueError("other")


def test_option_without_value_is_refused():
    with pytest.raises(ConfigError, match="key=value"):
        load_config(UPERNET, ["init"])
