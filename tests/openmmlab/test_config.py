"""Configs are found or explained, and options arrive where they belong."""

import pytest

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.config import load_config

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


def test_misspelt_section_is_refused():
    with pytest.raises(ConfigError, match="near:.*optim_wrapper"):
        load_config(UPERNET, ["optm_wrapper.optimizer.lr=1"])


def test_option_without_value_is_refused():
    with pytest.raises(ConfigError, match="key=value"):
        load_config(UPERNET, ["init"])
