"""Configs are found or explained, and options arrive where they belong."""

import os
import subprocess
import sys

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


def test_a_helper_variable_is_not_the_model():
    """configs/_base_/models/vit_tiny_segmentor.py has a `backbone` that nobody reads afterwards."""
    assert load_config(UPERNET).backbone.img_size == 512
    with pytest.raises(ConfigError, match="model.backbone.img_size="):
        load_config(UPERNET, ["backbone.img_size=64"])


def test_option_without_value_is_refused():
    with pytest.raises(ConfigError, match="key=value"):
        load_config(UPERNET, ["init"])


@pytest.mark.parametrize("root", ["/x/with space/coco", "/x/a, b/coco", "/x/a(b/coco", "2017"])
def test_paths_stay_as_they_are(root):
    cfg = load_config(UPERNET, [f"data_root={root}", f"init={root}/a b.pth"])
    assert cfg.train_dataloader.dataset.data_root == root
    assert cfg.model.backbone.init == f"{root}/a b.pth"
    dataset = "test_dataloader.dataset"
    cfg = load_config(
        UPERNET, [f"{dataset}.data_root={root}", "model.neck.note=a word", "resume=5"]
    )
    assert cfg.test_dataloader.dataset.data_root == root
    assert cfg.model.neck.note == "a word" and cfg.resume == 5


def test_values_that_are_no_plain_strings():
    key = "model.neck.note"
    for text, value in {
        "1, 2,3": [1, 2, 3],
        "(1, 2)": (1, 2),
        "(64,)": (64,),
        "[a, b]": ["a", "b"],
        "['hot dog', 'cat']": ["hot dog", "cat"],
        "{'a b': 1}": {"a b": 1},
        "'quoted'": "quoted",
        "1e-3": 1e-3,
        "none of it": "none of it",
        "None": None,
        "false": False,
        "": "",
    }.items():
        assert load_config(UPERNET, [f"{key}={text}"]).model.neck.note == value, text
    assert load_config(UPERNET, ["load_from=None"]).load_from is None
    with pytest.raises(ConfigError, match="(?s)note.*Imbalanced"):
        load_config(UPERNET, [f"{key}=[1,(2]"])


def test_a_list_of_imports_of_ones_own_leaves_ours(repo, tmp_path):
    """In a process of its own: in this one everything is registered."""
    (tmp_path / "own_backbones.py").write_text(
        "import timm\n"
        "from timm.models import register_model\n"
        "@register_model\n"
        "def own_ghost(pretrained=False, **options):\n"
        "    return timm.create_model('ghostnet_050', pretrained=False, **options)\n"
    )
    (tmp_path / "own.py").write_text(
        f"_base_ = {str(repo / 'configs/coco/mask_rcnn_repvit_m1_0.py')!r}\n"
        "custom_imports = dict(imports=['own_backbones'])\n"
        "model = dict(backbone=dict(name='own_ghost'))\n"
    )
    code = (
        "from lightvit_bench.openmmlab.config import load_config\n"
        "from mmengine.registry import DATASETS, MODELS\n"
        "cfg = load_config('own.py')\n"
        "print(cfg.model.neck.in_channels, *cfg.custom_imports.imports)\n"
        "print(None in (DATASETS.get('COCO'), MODELS.get('ViTBackbone')))\n"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": f"{repo}:{tmp_path}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    ours = "lightvit_bench.registry lightvit_bench.detection.registry"
    assert done.stdout == f"[12, 20, 40, 80] {ours} own_backbones\nFalse\n", done.stderr
    assert "No pretrained configuration" not in done.stderr
    with pytest.raises(ConfigError, match="'own_backbones'(?s:.*)PYTHONPATH"):
        load_config(tmp_path / "own.py")
