"""Mixed precision is on where a config says so, and what only a GPU can do is replaced."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from lightvit_bench.errors import ConfigError
from lightvit_bench.openmmlab.config import load_config
from lightvit_bench.openmmlab.device import adapt_to_device, use_mixed_precision, world_size


def without_gpu(monkeypatch, bfloat16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("lightvit_bench.openmmlab.device.cpu_computes_bfloat16", lambda: bfloat16)


def forward_dtype(wrapper_cfg: dict) -> torch.dtype:
    """The type in which a convolution computes inside a config's optimizer wrapper."""
    model = nn.Conv2d(3, 4, 1)
    wrapper = build_optim_wrapper(
        model, dict(type=wrapper_cfg["type"], optimizer=dict(type="SGD", lr=0.1))
    )
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 3, 2, 2))
    before = model.weight.detach().clone()
    wrapper.update_params(out.float().sum())
    assert not torch.equal(before, model.weight)  # gradients arrived
    return out.dtype


@pytest.mark.parametrize(
    "config, dtype",
    [
        ("configs/ade20k/upernet_dmae_tiny.py", torch.bfloat16),
        ("configs/camvid/upernet_dmae_tiny.py", torch.bfloat16),
        ("configs/ade20k/fpn_dmae_tiny.py", torch.float32),
    ],
)
def test_precision_in_force_on_a_cpu(repo, monkeypatch, config, dtype):
    without_gpu(monkeypatch)
    cfg = load_config(repo / config)
    adapt_to_device(cfg)
    assert forward_dtype(cfg.optim_wrapper) is dtype


def test_amp_option_turns_it_on(repo, monkeypatch):
    without_gpu(monkeypatch)
    cfg = load_config(repo / "configs/ade20k/fpn_dmae_tiny.py")
    use_mixed_precision(cfg)
    assert cfg.optim_wrapper.loss_scale == "dynamic"
    adapt_to_device(cfg)
    assert forward_dtype(cfg.optim_wrapper) is torch.bfloat16
    with pytest.raises(ConfigError, match="--amp"):
        use_mixed_precision(Config(dict(optim_wrapper=dict(type="Other"))))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_precision_in_force_on_a_gpu(repo):
    cfg = load_config(repo / "configs/ade20k/upernet_dmae_tiny.py")
    adapt_to_device(cfg)
    model = nn.Linear(4, 4).cuda()
    wrapper = build_optim_wrapper(
        model, dict(type=cfg.optim_wrapper.type, optimizer=dict(type="SGD", lr=0.1))
    )
    with wrapper.optim_context(model):
        assert model(torch.ones(1, 4).cuda()).dtype is torch.float16


def config(**more) -> Config:
    norm = dict(type="SyncBN")
    return Config(
        dict(
            model=dict(neck=[dict(norm_cfg=norm)], head=dict(norm_cfg=norm)),
            optim_wrapper=dict(type="AmpOptimWrapper", loss_scale="dynamic", dtype="float16"),
            **more,
        )
    )


def test_cpu_counterparts(monkeypatch):
    without_gpu(monkeypatch)
    cfg = config(launcher="pytorch")
    changes = adapt_to_device(cfg)
    assert cfg.optim_wrapper == dict(type="CpuAmpOptimWrapper")
    assert cfg.model.neck[0].norm_cfg.type == cfg.model.head.norm_cfg.type == "BN"
    assert cfg.model_wrapper_cfg.device_ids is None
    assert len(changes) == 3


def test_a_wrapper_of_its_own_is_kept(monkeypatch):
    without_gpu(monkeypatch)
    cfg = config(launcher="pytorch", model_wrapper_cfg=dict(type="PretrainDDP"))
    adapt_to_device(cfg)
    assert cfg.model_wrapper_cfg == dict(type="PretrainDDP", device_ids=None)


def test_other_options_of_mixed_precision_stay(monkeypatch):
    without_gpu(monkeypatch)
    cfg = config()
    cfg.optim_wrapper.update(clip_grad=dict(max_norm=1.0), optimizer=dict(type="AdamW", lr=0.1))
    adapt_to_device(cfg)
    assert cfg.optim_wrapper == dict(
        type="CpuAmpOptimWrapper",
        clip_grad=dict(max_norm=1.0),
        optimizer=dict(type="AdamW", lr=0.1),
    )


def test_world_size_is_the_launchers(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    assert world_size("none") == 1 and world_size("pytorch") == 8
    with pytest.raises(ConfigError, match="SLURM_NTASKS"):
        world_size("slurm")


def test_a_cpu_that_would_emulate_bfloat16_stays_in_float32(monkeypatch):
    without_gpu(monkeypatch, bfloat16=False)
    cfg = config()
    assert any("float32" in change for change in adapt_to_device(cfg))
    assert cfg.optim_wrapper == dict(type="OptimWrapper")


def test_a_gpu_keeps_the_config(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg = config(launcher="pytorch")
    assert adapt_to_device(cfg) == []
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert cfg.model.head.norm_cfg.type == "SyncBN"
