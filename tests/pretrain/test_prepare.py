"""What is completed in a config of pre-training, and refused, before anything is built."""

from __future__ import annotations

import importlib.util

import pytest
from tiny_run import write_config

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.run import train
from lightvit_bench.pretrain import bench


def test_tensorboard_that_is_not_installed_is_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    config = write_config(tmp_path)
    config.write_text(config.read_text().replace("LocalVisBackend", "TensorboardVisBackend"))
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        train(str(config), work_dir=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_distillation_without_a_teacher_is_refused(tmp_path):
    config = write_config(tmp_path)
    config.write_text(config.read_text() + "model['distill'] = dict(attention=[(3, 3)])\n")
    with pytest.raises(ConfigError, match="has no teacher(?s:.*)model.distill.teacher="):
        train(str(config), work_dir=str(tmp_path / "run"))


@pytest.mark.parametrize("precision, scale", [("bf16", {"enabled": False}), ("fp16", None)])
def test_bench_has_the_loss_scaling_of_a_run(tmp_path, monkeypatch, precision, scale):
    """As on a GPU: bfloat16 without a scaler."""
    wrappers = []
    monkeypatch.setattr(bench, "adapt_to_device", lambda cfg: [])
    monkeypatch.setattr(bench, "build_optim_wrapper", lambda model, cfg: wrappers.append(cfg))
    bench.build(str(write_config(tmp_path)), compiled=False, precision=precision, device="cpu")
    assert wrappers[0].get("loss_scale") == scale
